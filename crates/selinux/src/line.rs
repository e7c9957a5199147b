//! Lines of `file_contexts` and of the files of substitutions.

use crate::error::{LabelError, LineRule};
use crate::policy_files::PolicyFile;

/// A rule: paths that match the pattern have the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleLine<'a> {
    pub(crate) pattern: &'a str,
    /// Letter of the only type of file that the rule is for.
    pub(crate) kind: Option<char>,
    /// `None` for `<<none>>`.
    pub(crate) context: Option<&'a str>,
}

/// Calls a function with the fields of each line that has any.
pub(crate) fn each_line<'a>(
    file: &'a PolicyFile,
    mut take: impl FnMut(usize, &[&'a str]) -> Result<(), LineRule>,
) -> Result<(), LabelError> {
    let mut fields = Vec::new();
    for (index, line) in file.content.split(|byte| *byte == b'\n').enumerate() {
        let at = |rule| LabelError::Line { path: file.path.clone(), line: index + 1, rule };
        let line = str::from_utf8(line).map_err(|_| at(LineRule::NotText))?;
        fields.clear();
        fields.extend(line.split_whitespace());
        if fields.first().is_some_and(|first| !first.starts_with('#')) {
            take(index + 1, &fields).map_err(at)?;
        }
    }
    Ok(())
}

impl<'a> RuleLine<'a> {
    pub(crate) fn of(fields: &[&'a str]) -> Result<Self, LineRule> {
        let (pattern, kind, context) = match *fields {
            [pattern, context] => (pattern, None, context),
            [pattern, kind, context] => (pattern, Some(kind_letter(kind)?), context),
            _ => return Err(LineRule::Fields { found: fields.len() }),
        };
        Ok(Self { pattern, kind, context: (context != "<<none>>").then_some(context) })
    }
}

fn kind_letter(field: &str) -> Result<char, LineRule> {
    let mut letters = field.strip_prefix('-').unwrap_or_default().chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if "bcdpls-".contains(letter) => Ok(letter),
        _ => Err(LineRule::Type { found: field.to_owned() }),
    }
}
