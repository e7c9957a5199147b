//! A compiled policy: the rules of all its files, and the contexts that they give.

use crate::aliases::Aliases;
use crate::error::{LabelError, LineRule};
use crate::line::{RuleLine, each_line};
use crate::patterns::{LabelPatterns, PatternsBuilder};
use crate::policy_files::PolicyFiles;

/// Number of rules of a policy. That of Fedora has 6,500.
const RULES_MAX: usize = 100_000;

/// The rules of a policy.
#[derive(Debug)]
pub struct Contexts {
    pub(crate) patterns: LabelPatterns,
    pub(crate) aliases: Aliases,
    /// Context of each rule; `None` for a rule that says that there is no label.
    contexts: Vec<Option<Box<[u8]>>>,
}

impl Contexts {
    /// Compiles the rules of a policy.
    ///
    /// # Errors
    ///
    /// If a line cannot be understood, or the policy exceeds a limit.
    pub fn compile(files: &PolicyFiles) -> Result<Self, LabelError> {
        let mut count = 0;
        for file in &files.contexts {
            each_line(file, |_, _| {
                count += 1;
                Ok(())
            })?;
        }
        // Before any pattern becomes an automaton.
        if count > RULES_MAX {
            return Err(LabelError::TooManyRules { max: RULES_MAX });
        }
        let (mut patterns, mut contexts) = (PatternsBuilder::default(), Vec::with_capacity(count));
        for file in &files.contexts {
            each_line(file, |_, fields| {
                let rule = RuleLine::of(fields)?;
                contexts.push(rule.context.map(|context| context.as_bytes().into()));
                let invalid = |reason| LineRule::Pattern { pattern: rule.pattern.to_owned(), reason };
                patterns.push(&whole(&rule)).map_err(invalid)
            })?;
        }
        Ok(Self { patterns: patterns.build()?, aliases: Aliases::read(&files.substitutions)?, contexts })
    }

    /// Returns the number of rules.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.contexts.len()
    }

    pub(crate) fn context(&self, rule: usize) -> Option<&[u8]> {
        self.contexts.get(rule)?.as_deref()
    }
}

/// The pattern of a path followed by the letter of its type.
fn whole(rule: &RuleLine<'_>) -> String {
    let kind = rule.kind.unwrap_or('.');
    format!("^({}){kind}$", rule.pattern)
}
