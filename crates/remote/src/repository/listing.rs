//! Lists the tags of a repository.

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};
use serde::Deserialize;

use super::{Access, RemoteRepository};
use crate::error::{Error, ErrorKind};
use crate::exchange::{Call, WholeAnswer, is_same_origin, resolve};
use crate::reference;

/// The longest page.
const LONGEST_PAGE: u64 = 4 << 20;
/// The most pages of a list.
const MOST_PAGES: usize = 1000;
/// The most entries of a list.
const MOST_ENTRIES: usize = 1 << 20;

#[derive(Deserialize)]
struct TagsJson {
    /// An empty repository has `null`.
    tags: Option<Vec<String>>,
}

impl RemoteRepository {
    /// Returns the tags of the repository, in the order of the registry.
    ///
    /// # Errors
    ///
    /// If the registry does not have the repository, or if the list is not valid.
    pub fn tags(&self) -> Result<Vec<String>, Error> {
        let mut call = self.call(Access::Pull, Method::GET, "tags/list", "list the tags", "");
        call.url.query_pairs_mut().append_pair("n", "1000");
        let mut tags: Vec<String> = Vec::new();
        self.pages(call, &mut |page| {
            let page: TagsJson = serde_json::from_slice(&page.body)
                .map_err(|error| format!("the list of tags is not valid: {error}"))?;
            let page = page.tags.unwrap_or_default();
            if let Some(bad) = page.iter().find(|tag| !reference::is_tag(tag)) {
                return Err(format!("the list has the tag {:?}", crate::printable::printable(bad, 130)));
            }
            tags.extend(page);
            Ok(tags.len())
        })?;
        Ok(tags)
    }

    /// Reads the pages of a list. `take` returns how many entries there are.
    pub(super) fn pages(
        &self,
        mut call: Call,
        take: &mut dyn FnMut(&WholeAnswer) -> Result<usize, String>,
    ) -> Result<(), Error> {
        for _ in 0..MOST_PAGES {
            let page = self.exchange.fetch(&call, LONGEST_PAGE)?;
            let failed = |reason| Error::new(&call.subject, ErrorKind::Protocol { reason });
            if take(&page).map_err(failed)? > MOST_ENTRIES {
                break;
            }
            match next_page(&page.headers, &call.url).map_err(|kind| Error::new(&call.subject, kind))? {
                None => return Ok(()),
                Some(url) => call.url = url,
            }
        }
        let reason = format!("the list has more than {MOST_PAGES} pages or {MOST_ENTRIES} entries");
        Err(Error::new(&call.subject, ErrorKind::Protocol { reason }))
    }
}

/// Returns the URL of the next page, by `Link: <URL>; rel="next"`. It must be of the same server.
fn next_page(headers: &HeaderMap, url: &Url) -> Result<Option<Url>, ErrorKind> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let next = values.flat_map(|value| value.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = |parameter: &str| matches!(parameter.trim(), "rel=next" | "rel=\"next\"");
        parameters.split(';').any(is_next).then_some(target)
    });
    let Some(next) = next.map(|next| resolve(url, next)).transpose()? else { return Ok(None) };
    if !is_same_origin(&next, url) {
        return Err(ErrorKind::Protocol { reason: "the next page of the list is on another server".to_owned() });
    }
    Ok(Some(next))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn links_to_the_next_page() {
        let base = Url::parse("https://a.x/v2/r/tags/list").expect("a URL");
        let next = |link: &'static str| {
            let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(link))]);
            next_page(&headers, &base).map(|url| url.map(|url| url.to_string()))
        };
        let expected = Some("https://a.x/v2/r/tags/list?last=b&n=2".to_owned());
        assert_eq!(next("</v2/r/tags/list?last=b&n=2>; rel=\"next\"").expect("a link"), expected);
        assert_eq!(next("<x>; rel=prev, <?last=b&n=2>; rel=next").expect("a link"), expected);
        assert_eq!(next("<x>; rel=prev").expect("no next page"), None);
        assert!(next("<https://b.x/>; rel=next").is_err());
    }
}
