//! What `statfs=objects` needs of a plan.

use crate::error::Error;
use crate::options::StatfsSource;
use crate::plan::Plan;
use crate::statfs_refusal::StatfsRefusal;

impl Plan {
    /// Checks that the plan has what its option `statfs` needs.
    ///
    /// # Errors
    ///
    /// [`Error::Statfs`]
    pub fn check_statfs(&self) -> Result<(), Error> {
        let options = self.options();
        if options.statfs == StatfsSource::Image {
            return Ok(());
        }
        let reason = if options.upper.is_some() {
            StatfsRefusal::Upper
        } else if options.idmap.is_some() {
            StatfsRefusal::Idmap
        } else if self.statfs_dir.is_none() {
            StatfsRefusal::NoDirectory
        } else {
            return Ok(());
        };
        Err(Error::Statfs { image: self.image.clone(), reason })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::*;
    use crate::options::Options;
    use crate::parse::UnknownOptions;
    use crate::plan::header;

    fn refusal(text: &str, directory: Option<&str>) -> Option<StatfsRefusal> {
        let options = Options::parse(OsStr::new(text), UnknownOptions::Refuse).unwrap();
        let mut plan = Plan::new(Path::new("IMG"), &header(0), options);
        plan.statfs_dir = directory.map(Into::into);
        match plan.check_statfs() {
            Ok(()) => None,
            Err(Error::Statfs { reason, .. }) => Some(reason),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_plan_without_a_place_is_refused() {
        assert_eq!(refusal("basedir=o", None), None);
        assert_eq!(refusal("basedir=o,statfs=image", None), None);
        assert_eq!(refusal("basedir=o,statfs=objects", Some("d")), None);
        assert_eq!(refusal("basedir=o,statfs=objects", None), Some(StatfsRefusal::NoDirectory));
        let upper = "basedir=o,statfs=objects,upperdir=u,workdir=w";
        assert_eq!(refusal(upper, Some("d")), Some(StatfsRefusal::Upper));
        assert_eq!(refusal("basedir=o,statfs=objects,idmap=/n", Some("d")), Some(StatfsRefusal::Idmap));
    }
}
