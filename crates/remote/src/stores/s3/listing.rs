//! Parses the lists of S3: pages of keys in XML.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::retry::days_since_1970;
use crate::stores::web::percent_decoded;

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListedPage {
    pub(crate) keys: Vec<ListedKey>,
    /// What the request for the next page needs.
    pub(crate) next: Option<String>,
}

/// A key with its length and the time of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedKey {
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

/// Parses a page. Its keys are encoded as in URLs, as the request asks for.
pub(crate) fn parse(text: &str) -> Result<ListedPage, &'static str> {
    if !text.contains("<ListBucketResult") {
        return Err("the list has no ListBucketResult");
    }
    let mut page = ListedPage::default();
    let is_encoded = element(text, "EncodingType").is_some_and(|encoding| encoding == "url");
    let mut rest = text;
    while let Some((before, entry)) = rest.split_once("<Contents>") {
        let (entry, after) = entry.split_once("</Contents>").ok_or("the list is cut")?;
        let _ = before;
        rest = after;
        let key = element(entry, "Key").ok_or("a file of the list has no Key")?;
        let key = if is_encoded { percent_decoded(&key.replace('+', " ")) } else { unescaped(key) };
        let size = element(entry, "Size").and_then(|size| size.trim().parse().ok());
        let size = size.ok_or("a file of the list has no Size")?;
        let modified = element(entry, "LastModified").and_then(time).ok_or("a file of the list has no LastModified")?;
        page.keys.push(ListedKey { key, size, modified });
    }
    let is_truncated = element(text, "IsTruncated").is_some_and(|value| value.trim() == "true");
    page.next = element(text, "NextContinuationToken").filter(|_| is_truncated).map(unescaped);
    if is_truncated && page.next.is_none() {
        return Err("the list continues, and has no NextContinuationToken");
    }
    Ok(page)
}

/// Returns the id of an upload that was begun.
pub(crate) fn upload_id(text: &str) -> Option<String> {
    element(text, "UploadId").map(unescaped).filter(|id| !id.is_empty())
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(content, _)| content)
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&")
}

/// Parses a time such as `2026-11-29T09:00:00.000Z`.
fn time(text: &str) -> Option<SystemTime> {
    let (date, time) = text.trim().trim_end_matches('Z').split_once('T')?;
    let numbers = |text: &str, separator: char| -> Option<Vec<u64>> {
        text.split(separator).map(|part| part.parse().ok()).collect()
    };
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let [hour, minute, second] = numbers(time.split('.').next()?, ':')?[..] else { return None };
    let is_valid = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_valid || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_since_1970(year, month - 1, day)? * 86_400 + hour * 3600 + minute * 60 + second;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_parsed() {
        let entry = "<Contents><Key>p/refs/a+b%2Fc%26</Key><LastModified>2015-10-21T07:28:00.000Z</LastModified>\
                     <ETag>&quot;x&quot;</ETag><Size>17</Size></Contents>";
        let text = format!(
            "<?xml?><ListBucketResult xmlns=\"x\"><EncodingType>url</EncodingType>{entry}{entry}\
             <IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b=</NextContinuationToken></ListBucketResult>"
        );
        let page = parse(&text).expect("a page");
        assert_eq!((page.keys.len(), page.next.as_deref()), (2, Some("a&b=")));
        let key = &page.keys[0];
        assert_eq!((key.key.as_str(), key.size), ("p/refs/a b/c&", 17));
        assert_eq!(key.modified, UNIX_EPOCH + Duration::from_secs(1_445_412_480));
        assert_eq!(parse("<ListBucketResult/>"), Ok(ListedPage::default()));
        for wrong in [
            "",
            "<Error>",
            "<ListBucketResult><Contents>",
            "<ListBucketResult><Contents></Contents>",
            "<ListBucketResult><IsTruncated>true</IsTruncated>",
            &text.replace("17", "-1"),
            &text.replace("2015-10", "2015-13"),
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn uploads_have_an_id() {
        assert_eq!(upload_id("<X><UploadId>a&lt;b</UploadId></X>").as_deref(), Some("a<b"));
        assert_eq!(upload_id("<X><UploadId></UploadId></X>"), None);
    }
}
