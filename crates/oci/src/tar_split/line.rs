//! One line: a JSON object, which is a piece of the archive or a file.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::piece::{TarPiece, TarSplitFile};

/// The object as it is written. Fields that are not known are ignored.
#[derive(Deserialize)]
struct SplitLine<'l> {
    r#type: u64,
    position: u64,
    #[serde(borrow, default)]
    name: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    name_raw: Option<Cow<'l, str>>,
    #[serde(default)]
    size: u64,
    #[serde(borrow, default)]
    payload: Option<Cow<'l, str>>,
}

/// Reads a line, which must have this position.
pub(super) fn parse(line: &[u8], position: u64) -> Result<TarPiece, String> {
    let object: SplitLine<'_> =
        serde_json::from_slice(line).map_err(|error| format!("is no object of the format: {error}"))?;
    if object.position != position {
        return Err(format!("has the position {}, but {position} comes next", object.position));
    }
    match object.r#type {
        1 => file(object).map(TarPiece::File),
        2 => Ok(TarPiece::Bytes(decode("the payload", object.payload.as_deref().unwrap_or_default())?)),
        other => Err(format!("has the type {other}: only 1 (a file) and 2 (bytes) are known")),
    }
}

fn file(object: SplitLine<'_>) -> Result<TarSplitFile, String> {
    let name = match (object.name, object.name_raw) {
        (Some(name), None) => name.into_owned().into_bytes(),
        (None, Some(raw)) => decode("name_raw", &raw)?,
        (None, None) => return Err("has no name".to_owned()),
        (Some(_), Some(_)) => return Err("has both name and name_raw".to_owned()),
    };
    let crc = match object.payload {
        None => None,
        Some(payload) => {
            let bytes = decode("the payload", &payload)?;
            Some(bytes.try_into().map(u64::from_be_bytes).map_err(|_| "has a checksum that is not 8 bytes long")?)
        }
    };
    if object.size > 0 && crc.is_none() {
        return Err("has a size, but no checksum".to_owned());
    }
    Ok(TarSplitFile { name, size: object.size, crc })
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("is damaged: {what} is no base64: {error}"))
}
