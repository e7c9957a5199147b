//! The plan of a boot, made from the command line, the configuration and the face.

use crate::config::{BootConfig, MountChoice};
use crate::face::Face;
use crate::words::{BootImage, KernelWords};

/// Images and mounts of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootPlan {
    /// The images, of which the first one that exists is mounted.
    pub images: Vec<BootImage>,
    /// Name of the image to boot, if no image is named by its digest.
    pub name: Option<String>,
    /// Changes of the whole root are in memory.
    pub root_transient: bool,
    /// The way in which `/etc` is mounted.
    pub etc: MountChoice,
    /// The way in which `/var` is mounted.
    pub var: MountChoice,
    /// The root and the disk are mounted read-only by a flag.
    pub is_read_only: bool,
    /// Notes for the console, about words that stop nothing.
    pub notes: Vec<String>,
}

/// Reasons why an image cannot be booted as asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The repository demands fs-verity, and the command line does without.
    #[error("the repository demands fs-verity, which ? on the command line cannot weaken")]
    Verity {
        /// The word that has the `?`.
        word: String,
    },
}

impl BootPlan {
    /// Decides what a boot does. The configuration wins over the defaults of the face, and the words `composefs.etc`
    /// and `composefs.var` over both where the command line is not sealed.
    #[must_use]
    pub fn new(words: KernelWords, config: BootConfig, face: Face, is_sealed: bool) -> Self {
        let mut notes: Vec<_> =
            words.skipped.iter().map(|word| format!("{word}: unknown format, passed over")).collect();
        notes.extend(words.unknown.iter().map(|word| format!("{word}: unknown word or value, passed over")));
        if !words.has_root_mode {
            notes.push("no rw on the kernel command line: systemd may fail to remount the root".into());
        }
        let (mut etc, mut var) = (words.etc, words.var);
        if is_sealed && (etc.is_some() || var.is_some()) {
            notes.push(
                "composefs.etc and composefs.var are passed over: Secure Boot is on, or its state is unknown".into(),
            );
            (etc, var) = (None, None);
        }
        // systemd makes /var itself; bootc's program leaves it alone then.
        let without_config =
            if face == Face::Bootc && words.is_volatile { MountChoice::None } else { MountChoice::Bind };
        Self {
            images: words.images,
            name: words.name,
            root_transient: config.root_transient,
            etc: etc.or(config.etc).unwrap_or(face.etc()),
            var: var.or(config.var).unwrap_or(without_config),
            is_read_only: face.is_read_only() && !config.root_transient,
            notes,
        }
    }

    /// Returns whether an image is mounted with fs-verity required.
    ///
    /// # Errors
    ///
    /// If the command line does without fs-verity in a repository that demands it.
    pub fn needs_verity(image: &BootImage, repository_demands: bool) -> Result<bool, PlanError> {
        if image.is_verity_optional && repository_demands {
            return Err(PlanError::Verity { word: image.word.clone() });
        }
        Ok(!image.is_verity_optional)
    }

    /// Returns the source that the root has in the list of mounts, from which `bootc status` reads the booted image.
    #[must_use]
    pub fn source(&self, image: &BootImage) -> String {
        let hex = image.digest.to_hex();
        if self.root_transient { format!("transient:composefs={hex}") } else { format!("composefs:{hex}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn plan(more: &str, config: &str, face: Face) -> BootPlan {
        let words = KernelWords::parse(&format!("composefs=?{HEX} {more}")).unwrap();
        BootPlan::new(words, BootConfig::parse(config).unwrap(), face, false)
    }

    #[test]
    fn words_of_the_line_count_unless_it_is_sealed() {
        let line = format!("rw composefs={HEX} composefs.etc=none composefs.digest=v9:00");
        let words = KernelWords::parse(&line).unwrap();
        let config = BootConfig::parse("[etc]\nmount = \"bind\"").unwrap();
        let open = BootPlan::new(words.clone(), config, Face::ComposefsRs, false);
        assert_eq!((open.etc, open.notes.len()), (MountChoice::None, 1));
        let sealed = BootPlan::new(words, config, Face::ComposefsRs, true);
        assert_eq!((sealed.etc, sealed.notes.len()), (MountChoice::Bind, 2));
    }

    #[test]
    fn faces_have_their_own_defaults() {
        let ours = plan("", "", Face::ComposefsRs);
        assert_eq!((ours.etc, ours.var, ours.is_read_only), (MountChoice::Overlay, MountChoice::Bind, false));
        let bootc = plan("", "", Face::Bootc);
        assert_eq!((bootc.etc, bootc.var, bootc.is_read_only), (MountChoice::Bind, MountChoice::Bind, true));
        assert_eq!(plan("systemd.volatile=state", "", Face::Bootc).var, MountChoice::None);
        assert_eq!(plan("systemd.volatile=state", "", Face::ComposefsRs).var, MountChoice::Bind);
        let set = plan("", "[etc]\nmount = \"overlay\"\n[root]\ntransient = true", Face::Bootc);
        assert_eq!((set.etc, set.is_read_only), (MountChoice::Overlay, false));
        assert_eq!(set.source(&set.images[0]), format!("transient:composefs={HEX}"));
        assert_eq!(ours.source(&ours.images[0]), format!("composefs:{HEX}"));
    }

    #[test]
    fn the_name_of_the_program_is_its_face() {
        let of = |program: &str, words: &[&'static str]| Face::of(program, words.iter().copied());
        assert_eq!(of("/usr/lib/bootc/initramfs-setup", &[]), Face::Bootc);
        assert_eq!(of("composefs-setup-root", &["setup-root"]), Face::Bootc);
        assert_eq!(of("/usr/bin/composefs-setup-root", &["other"]), Face::ComposefsRs);
    }

    #[test]
    fn verity_is_never_weaker_than_the_repository_demands() {
        let plan = plan("", "", Face::ComposefsRs);
        let image = &plan.images[0];
        assert_eq!(BootPlan::needs_verity(image, false), Ok(false));
        assert!(matches!(BootPlan::needs_verity(image, true), Err(PlanError::Verity { .. })));
        let strict = BootImage { is_verity_optional: false, ..image.clone() };
        assert_eq!(BootPlan::needs_verity(&strict, true), Ok(true));
    }
}
