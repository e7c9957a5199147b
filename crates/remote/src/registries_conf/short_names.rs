//! Short names: which references a name without a host may mean.

use super::{RegistriesConf, ShortNameMode};
use crate::reference::{Reference, ReferenceError};

/// The error of a name without a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShortNameError {
    /// The name, or what an alias or a search registry makes of it, is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Several registries may have the name.
    #[error(
        "{name:?} has no registry and may mean {}; give the whole name, or add an alias for it to registries.conf \
         (short-name-mode is enforcing)", candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    )]
    Ambiguous {
        /// Name that was asked for.
        name: String,
        /// References it may mean.
        candidates: Vec<Reference>,
    },
    /// No registry is searched.
    #[error("{name:?} has no registry, and unqualified-search-registries is empty: give the whole name")]
    NoRegistry {
        /// Name that was asked for.
        name: String,
    },
}

impl RegistriesConf {
    /// Returns true if neither an alias nor a list of registries says what a name without a host means.
    #[must_use]
    pub fn is_silent_about(&self, name: &str) -> bool {
        let short = &name[..name.find([':', '@']).unwrap_or(name.len())];
        self.search.is_none() && !self.aliases.contains_key(short)
    }

    /// Returns the references that a name may mean, in the order in which they are tried. There is at least one.
    ///
    /// A name with a host means itself. Otherwise an alias decides, then `unqualified-search-registries`. If no file
    /// has that list, the name belongs to Docker Hub.
    ///
    /// # Errors
    ///
    /// If the name is no reference, or if several registries may have it and the mode is enforcing.
    pub fn candidates(&self, name: &str) -> Result<Vec<Reference>, ShortNameError> {
        let plain: Reference = name.parse()?;
        if Reference::has_host(name) {
            return Ok(vec![plain]);
        }
        let (short, rest) = name.split_at(name.find([':', '@']).unwrap_or(name.len()));
        if let Some(full) = self.aliases.get(short) {
            return Ok(vec![format!("{full}{rest}").parse()?]);
        }
        let Some(search) = &self.search else { return Ok(vec![plain]) };
        let candidates = search.iter().map(|host| format!("{host}/{name}").parse());
        let candidates = candidates.collect::<Result<Vec<Reference>, _>>()?;
        match (candidates.len(), self.mode) {
            (0, _) => Err(ShortNameError::NoRegistry { name: name.to_owned() }),
            (2.., ShortNameMode::Enforcing) => Err(ShortNameError::Ambiguous { name: name.to_owned(), candidates }),
            _ => Ok(candidates),
        }
    }
}
