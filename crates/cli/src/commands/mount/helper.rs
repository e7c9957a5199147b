//! `mount -t composefs -o lazy=REMOTE`: a lazy mount from fstab, as `composefs mount --lazy` makes it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context as _, bail};
use libcomposefs_mount::{TakenWords, UnknownOptions, take_words};

use super::{MountArgs, MountPart, TIMEOUT_DEFAULT, TIMEOUT_MAX, Via, lazy};
use crate::commands::remote::{FillPace, RemoteOperand};
use crate::commands::repository::RepositoryArgs;
use crate::output;

/// The options that only a lazy mount has.
const KEYS: [&str; 5] = ["lazy", "repo", "fill", "timeout", "via"];

/// A lazy mount that `mount(8)` asks for.
pub(crate) struct LazyHelper {
    args: MountArgs,
    remote: RemoteOperand,
    selected: RepositoryArgs,
}

impl LazyHelper {
    /// Returns the mount if the options have `lazy=`.
    pub(crate) fn of(image: &Path, target: &Path, options: &OsStr, is_sloppy: bool) -> anyhow::Result<Option<Self>> {
        let TakenWords { taken, rest } = take_words(options, &KEYS)?;
        if !taken.iter().any(|(key, _)| *key == "lazy") {
            return Ok(None);
        }
        let mut args = MountArgs::of(image.to_owned(), target.to_owned(), vec![rest], Via::Auto);
        args.timeout = TIMEOUT_DEFAULT;
        args.is_for_command = false;
        args.unknown = if is_sloppy { UnknownOptions::Ignore } else { UnknownOptions::Refuse };
        let (mut remote, mut repository) = (String::new(), None);
        for (key, value) in taken {
            match key {
                "lazy" => remote = text(key, value)?,
                "repo" => repository = Some(value.into()),
                "fill" => args.fill = choice::<FillPace>(key, value)?,
                "via" => args.via = choice::<Via>(key, value)?,
                _ => args.timeout = seconds(&text(key, value)?)?,
            }
        }
        let remote = remote.parse().map_err(anyhow::Error::from)?;
        Ok(Some(Self { args, remote, selected: RepositoryArgs::of(repository) }))
    }

    /// Mounts, or only checks the options. Prints what is mounted if that is asked for.
    pub(crate) fn run(&self, is_fake: bool, prints: bool) -> anyhow::Result<MountPart> {
        if is_fake || prints {
            lazy::check(&self.args, &self.remote, &self.selected, prints)?;
        }
        if is_fake {
            return Ok(MountPart::Caller);
        }
        // What is printed must not be in the memory of both processes.
        output::flush()?;
        lazy::run(&self.args, &self.remote, &self.selected)
    }
}

fn text(key: &str, value: OsString) -> anyhow::Result<String> {
    value.into_string().ok().with_context(|| format!("the value of {key}= must be UTF-8"))
}

fn choice<T: clap::ValueEnum>(key: &str, value: OsString) -> anyhow::Result<T> {
    let value = text(key, value)?;
    T::from_str(&value, false).map_err(|_| {
        let names: Vec<_> = T::value_variants().iter().filter_map(|value| value.to_possible_value()).collect();
        let names: Vec<_> = names.iter().map(|value| value.get_name()).collect();
        anyhow::anyhow!("Invalid argument for {key} option: {value:?} is not one of {}", names.join(", "))
    })
}

fn seconds(value: &str) -> anyhow::Result<u64> {
    match value.parse() {
        Ok(seconds @ 1..=TIMEOUT_MAX) => Ok(seconds),
        _ => bail!("Invalid argument for timeout option: {value:?} is not a number of seconds from 1 to {TIMEOUT_MAX}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &str) -> anyhow::Result<Option<LazyHelper>> {
        LazyHelper::of("debian/13".as_ref(), "/mnt".as_ref(), options.as_ref(), false)
    }

    #[test]
    fn options_of_fstab_become_arguments() {
        let options = "rw,lazy=https://a/b,repo=/srv/images,fill=idle,timeout=5,via=fuse,_netdev";
        let LazyHelper { args, .. } = of(options).unwrap().unwrap();
        assert_eq!((args.fill, args.timeout, args.via), (FillPace::Idle, 5, Via::Fuse));
        assert_eq!(args.options, ["rw,_netdev"]);
        let LazyHelper { args, .. } = of("lazy=/srv/remote").unwrap().unwrap();
        assert_eq!((args.fill, args.timeout, args.via), (FillPace::Off, TIMEOUT_DEFAULT, Via::Auto));
        // Without lazy= they are unknown, as those of the C tool are.
        assert!(of("repo=/srv/images,basedir=o").unwrap().is_none());
    }

    #[test]
    fn wrong_values_are_named() {
        for (options, reason) in [
            ("lazy", "No value specified for lazy option"),
            ("lazy=a,fill=fast", "\"fast\" is not one of off, idle, now"),
            ("lazy=a,timeout=0", "from 1 to 86400"),
            ("lazy=a,via=nfs", "is not one of auto"),
        ] {
            let error = of(options).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(reason), "{options}: {error}");
        }
    }
}
