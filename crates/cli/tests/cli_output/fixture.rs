//! Fixture: the directory in which the commands of the table are run.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libcomposefs_testkit::oci;
use tempfile::TempDir;

pub(crate) const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");
const PROGRAMS: [&str; 6] =
    ["composefs", "mkcomposefs", "composefs-info", "composefs-dump", "composefs-fuse", "mount.composefs"];

/// Shell functions available to every line.
const PRELUDE: &str = "\
unprivileged() {
    if [ $(id -u) = 0 ]; then setpriv --bounding-set=-dac_override,-dac_read_search \"$@\"; else \"$@\"; fi
}
";

/// Characters in the names of the hostile fixture: C0 controls (with a newline), C1 as UTF-8 and as a byte, DEL, and
/// characters that change the direction of text or end lines.
const HOSTILE: &[u8] =
    b"\x1b[31m\x1b]0;title\x07\xc2\x9b31m\x9b\x7f\xe2\x80\xae\xe2\x81\xa6\xd8\x9c\xe2\x80\xa8\nFORGED line";
/// Characters in the refs of the hostile fixture; refs cannot contain control characters.
const HOSTILE_REF: &str = "\u{202e}\u{2066}\u{61c}\u{2028}\u{200f}";

pub(crate) struct Place {
    dir: TempDir,
    variables: Vec<(&'static str, OsString)>,
}

impl Place {
    /// Creates the fixture with plain or with hostile names.
    pub(crate) fn new(is_hostile: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = |name: &str| {
            let end = if is_hostile { HOSTILE } else { b"" };
            OsStr::from_bytes(&[name.as_bytes(), end].concat()).to_owned()
        };
        let mut variables: Vec<(&'static str, OsString)> = [
            "T",
            "T2",
            "I",
            "O",
            "R",
            "BAD",
            "X",
            "OSTREE",
            "OCI",
            "RO",
            "EMPTY",
            "OUT",
            "NONE",
            "UNREADABLE",
            "RECIPE",
        ]
        .map(|variable| (variable, name(&variable.to_lowercase())))
        .into();
        variables.push(("N", if is_hostile { format!("n{HOSTILE_REF}") } else { "n".to_owned() }.into()));
        let place = Self { dir, variables };
        let bin = place.path("bin");
        fs::create_dir(&bin).unwrap();
        for program in PROGRAMS {
            symlink(COMPOSEFS, bin.join(program)).unwrap();
        }
        place.fill();
        place
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    fn named(&self, variable: &str) -> PathBuf {
        self.path(&self.variables.iter().find(|(name, _)| *name == variable).unwrap().1)
    }

    fn fill(&self) {
        let x = &self.variables.iter().find(|(name, _)| *name == "X").unwrap().1;
        let sub = [x.as_bytes(), b".d"].concat();
        for tree in ["T", "T2"] {
            let tree = self.named(tree);
            fs::create_dir_all(tree.join(OsStr::from_bytes(&sub))).unwrap();
            fs::write(tree.join(x), "small").unwrap();
            fs::write(tree.join(OsStr::from_bytes(&sub)).join(x), "x".repeat(100)).unwrap();
            fs::write(tree.join("big"), "big ".repeat(100)).unwrap();
            symlink(x, tree.join("link")).unwrap();
        }
        fs::write(self.named("T2").join(x), "other").unwrap();
        fs::remove_dir_all(self.named("T2").join(OsStr::from_bytes(&sub))).unwrap();
        fs::create_dir(self.named("EMPTY")).unwrap();
        fs::create_dir(self.named("UNREADABLE")).unwrap();
        let unreadable = self.named("UNREADABLE").join(x);
        fs::write(&unreadable, "x").unwrap();
        fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o000)).unwrap();
        for line in [
            r#"mkcomposefs --digest-store="$O" "$T" "$I""#,
            r#"composefs --repo="$R" init --insecure"#,
            r#"composefs --repo="$R" create "$T" --name="$N""#,
            r#"composefs --repo="$R" derive "$N" --chown="1:1:/$X" --write-recipe="$RECIPE" --print-digest"#,
            r#"composefs --repo="$BAD" init --insecure"#,
            r#"composefs --repo="$BAD" create "$T" --name="$N""#,
            // Invalid refs and links, and an object whose content does not match its name.
            r#"ln -s "$X" "$BAD/images/refs/$X"; ln -s "$X" "$BAD/images/$X""#,
            r#"mkdir "$BAD/objects/$X"; touch "$BAD/objects/00""#,
            r#"f=$(find "$BAD/objects" -mindepth 2 -type f | head -n1); chmod u+w "$f"; echo more >> "$f""#,
        ] {
            let ran = self.sh(line, Stdio::piped());
            assert!(ran.status.success(), "{line}: {ran:?}");
        }
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ostree/tests/data/archive.tar.xz");
        let unpacked = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(self.dir.path()).status().unwrap();
        assert!(unpacked.success());
        fs::rename(self.path("archive"), self.named("OSTREE")).unwrap();
        fs::rename(oci::unpack_layout("three-layers", self.dir.path()), self.named("OCI")).unwrap();
        for line in
            [r#"composefs --repo="$RO" init --insecure"#, r#"composefs --repo="$RO" oci pull "oci:$OCI" --name=one"#]
        {
            let ran = self.sh(line, Stdio::piped());
            assert!(ran.status.success(), "{line}: {ran:?}");
        }
    }

    /// Returns a shell command that runs a line.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{PRELUDE}{line}")).current_dir(self.dir.path()).stdin(Stdio::null());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut all = self.path("bin").into_os_string();
        all.push(":");
        all.push(path);
        command.env("PATH", all).env("NO_COLOR", "1").envs(self.variables.iter().cloned());
        command
    }

    /// Runs a line with the given standard output.
    pub(crate) fn sh(&self, line: &str, stdout: Stdio) -> Output {
        self.command(line).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    }
}

/// Opens a device that is always full.
pub(crate) fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// Returns the write end of a pipe whose read end is closed.
pub(crate) fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}
