//! Matching of one path against all patterns at once: the last pattern that matches counts.

use fancy_regex::BytesMode;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use regex_syntax::hir::Hir;

use crate::error::LabelError;

/// Memory of the automaton of all plain patterns, in bytes. That of Debian's policy needs a tenth of it.
const NFA_MAX: usize = 64 << 20;
/// Memory of the states that are in use, in bytes. When it is full they are forgotten, a limited number of times.
const CACHE_MAX: usize = 64 << 20;
const CACHE_FILLS_MAX: usize = 16;
/// Number of patterns with look-around or back references. Each is tried by itself.
const SPECIAL_MAX: usize = 256;
/// Steps of one match of such a pattern.
const STEPS_MAX: usize = 100_000;
const SPECIAL_SIZE_MAX: usize = 1 << 20;

/// Patterns in their order, of which the plain ones are one automaton.
#[derive(Debug)]
pub(crate) struct LabelPatterns {
    dfa: DFA,
    /// Number of the pattern for each one of the automaton, the last pattern first.
    plain: Vec<usize>,
    /// Patterns with look-around, the last one first.
    special: Vec<(usize, fancy_regex::Regex)>,
}

/// Collects patterns in their order.
#[derive(Debug, Default)]
pub(crate) struct PatternsBuilder {
    count: usize,
    plain: Vec<(usize, Hir)>,
    special: Vec<(usize, fancy_regex::Regex)>,
}

impl PatternsBuilder {
    /// Adds a pattern, which is matched against whole paths. Returns what is wrong with it.
    pub(crate) fn push(&mut self, pattern: &str) -> Result<(), String> {
        let index = self.count;
        self.count += 1;
        match syntax::parse_with(pattern, &syntax()) {
            Ok(hir) => self.plain.push((index, hir)),
            Err(_) if self.special.len() == SPECIAL_MAX => {
                return Err(format!("more than {SPECIAL_MAX} patterns have look-around"));
            }
            // Look-around and back references; what neither engine understands is reported by the second one.
            Err(_) => self.special.push((index, special(pattern).map_err(|error| error.to_string())?)),
        }
        Ok(())
    }

    /// Makes one automaton of all plain patterns.
    pub(crate) fn build(mut self) -> Result<LabelPatterns, LabelError> {
        // Of several patterns that match, the automaton reports the first one.
        self.plain.reverse();
        self.special.reverse();
        let (plain, hirs): (Vec<_>, Vec<_>) = self.plain.into_iter().unzip();
        let too_complex = |reason: String| LabelError::TooComplex { reason };
        let config = NFA::config().utf8(false).nfa_size_limit(Some(NFA_MAX)).which_captures(WhichCaptures::None);
        let nfa = thompson::Compiler::new().configure(config).build_many_from_hir(&hirs);
        let config = DFA::config()
            .match_kind(MatchKind::LeftmostFirst)
            .cache_capacity(CACHE_MAX)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(CACHE_FILLS_MAX));
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa.map_err(|error| too_complex(error.to_string()))?);
        Ok(LabelPatterns { dfa: dfa.map_err(|error| too_complex(error.to_string()))?, plain, special: self.special })
    }
}

/// Syntax of plain patterns: of bytes, without Unicode, where a dot also matches the end of a line.
fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true)
}

fn special(pattern: &str) -> Result<fancy_regex::Regex, fancy_regex::Error> {
    fancy_regex::RegexBuilder::new(pattern)
        .bytes_mode(BytesMode::Ascii)
        .dot_matches_new_line(true)
        .backtrack_limit(STEPS_MAX)
        .max_prog_size(SPECIAL_SIZE_MAX)
        .delegate_size_limit(SPECIAL_SIZE_MAX)
        .delegate_dfa_size_limit(SPECIAL_SIZE_MAX)
        .build()
}

impl LabelPatterns {
    pub(crate) fn cache(&self) -> Cache {
        self.dfa.create_cache()
    }

    /// Returns the number of the last pattern that matches a text, or why the search was given up.
    pub(crate) fn last_match(&self, cache: &mut Cache, text: &[u8]) -> Result<Option<usize>, String> {
        let input = Input::new(text).anchored(Anchored::Yes);
        let found = self.dfa.try_search_fwd(cache, &input).map_err(|error| error.to_string())?;
        let plain = found.and_then(|found| self.plain.get(found.pattern().as_usize()).copied());
        for (index, regex) in &self.special {
            if plain.is_some_and(|plain| plain > *index) {
                break;
            }
            if regex.is_match(text).map_err(|error| error.to_string())? {
                return Ok(Some(*index));
            }
        }
        Ok(plain)
    }
}
