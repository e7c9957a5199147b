//! Small texts from outside, each with a reader of its own, chosen by the first byte: `m` for `meta.json`, `n` for the
//! name of an image, `o` for mount options, `i` for mountinfo, `x` for patterns and a path, `p` for a policy of images.
//!
//! Those of registries: `a` for an auth file, `c` for registries.conf, `s` for policy.json, `w` for
//! `WWW-Authenticate`, `b` for several ranges in one body, `e` for a refusal, `j` for a manifest, `f` for a reference.
//!
//! Those of containers: `k` for the configuration of an image, `u` for a user and the files with users and groups, `z`
//! for a seccomp profile.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use composefs_fuzz::{Budget, Linear};
use libcomposefs_image::policy::Policy;
use libcomposefs_mount::UnknownOptions;
use libcomposefs_oci::runtime::{
    ContainerPlace, ContainerUser, GeneratedFiles, ImageProcess, KernelVersion, RunOptions, SeccompProfile,
    SeccompTarget, runtime_spec,
};
use libcomposefs_remote::{Reference, fuzzing as remote};
use libcomposefs_repo::{ImageName, Meta, RefName};
use libcomposefs_scan::Patterns;
use libfuzzer_sys::fuzz_target;

static META: Budget =
    Budget::new("meta.json", Linear { base: 64 << 10, per_byte: 64 }, Linear { base: 5_000_000, per_byte: 2_000 });
static NAME: Budget =
    Budget::new("image name", Linear { base: 16 << 10, per_byte: 16 }, Linear { base: 5_000_000, per_byte: 2_000 });
static OPTIONS: Budget =
    Budget::new("mount options", Linear { base: 16 << 10, per_byte: 128 }, Linear { base: 5_000_000, per_byte: 4_000 });
static MOUNTINFO: Budget =
    Budget::new("mountinfo", Linear { base: 16 << 10, per_byte: 16 }, Linear { base: 5_000_000, per_byte: 1_000 });
// A pattern becomes an automaton, which is made at once and has a limit of its own.
static PATTERNS: Budget = Budget::new(
    "patterns",
    Linear { base: 8 << 20, per_byte: 16 << 10 },
    Linear { base: 50_000_000, per_byte: 500_000 },
);
static POLICY: Budget =
    Budget::new("policy", Linear { base: 16 << 10, per_byte: 64 }, Linear { base: 5_000_000, per_byte: 2_000 });
/// Files of containers: JSON and TOML become trees first.
static CONTAINERS: Budget = Budget::new(
    "configuration of containers",
    Linear { base: 64 << 10, per_byte: 128 },
    Linear { base: 5_000_000, per_byte: 5_000 },
);
static REGISTRY: Budget = Budget::new(
    "answer of a registry",
    Linear { base: 32 << 10, per_byte: 32 },
    Linear { base: 5_000_000, per_byte: 4_000 },
);
static CONTAINER: Budget =
    Budget::new("container", Linear { base: 128 << 10, per_byte: 256 }, Linear { base: 20_000_000, per_byte: 12_000 });
static USER: Budget =
    Budget::new("user", Linear { base: 16 << 10, per_byte: 8 }, Linear { base: 5_000_000, per_byte: 1_000 });
static SECCOMP: Budget =
    Budget::new("seccomp", Linear { base: 16 << 10, per_byte: 128 }, Linear { base: 5_000_000, per_byte: 4_000 });

fuzz_target!(|input: &[u8]| {
    let Some((kind, text)) = input.split_first() else { return };
    let (budget, read): (_, fn(&[u8])) = match kind {
        b'm' => (&META, meta),
        b'n' => (&NAME, name),
        b'o' => (&OPTIONS, options),
        b'i' => (&MOUNTINFO, mountinfo),
        b'x' => (&PATTERNS, patterns),
        b'p' => (&POLICY, policy),
        b'a' => (&CONTAINERS, auth_file),
        b'c' => (&CONTAINERS, registries_conf),
        b's' => (&CONTAINERS, signature_policy),
        b'w' => (&REGISTRY, challenges),
        b'b' => (&REGISTRY, multipart),
        b'e' => (&REGISTRY, refusal),
        b'j' => (&REGISTRY, manifest),
        b'f' => (&REGISTRY, reference),
        b'k' => (&CONTAINER, container),
        b'u' => (&USER, user),
        b'z' => (&SECCOMP, seccomp),
        _ => return,
    };
    budget.check(text.len(), || read(text));
});

fn meta(text: &[u8]) {
    let Ok(meta) = Meta::parse(text) else { return };
    // Features that are not known are not written for a new repository.
    let again = Meta::parse(&meta.emit()).expect("what is written is read");
    assert_eq!((again.algorithm, again.format), (meta.algorithm, meta.format));
}

fn name(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(name) = RefName::new(text) {
        assert!(name.parts().all(|part| !part.is_empty() && !part.starts_with('.')), "{name:?}");
        assert!(!text.contains(char::is_control), "{name:?}");
    }
    if let Ok(name) = text.parse::<ImageName>() {
        assert_eq!(name.to_string().parse().ok(), Some(name));
    }
}

fn options(text: &[u8]) {
    let text = OsStr::from_bytes(text);
    let strict = libcomposefs_mount::parse(text, UnknownOptions::Refuse);
    let lenient = libcomposefs_mount::parse(text, UnknownOptions::Ignore);
    if let Ok(strict) = strict {
        assert!(!strict.basedirs.is_empty());
        // Strict parsing only refuses more.
        assert_eq!(lenient.ok(), Some(strict));
    }
}

fn mountinfo(text: &[u8]) {
    let mounts = libcomposefs_mount::fuzzing::mounts_in(text);
    assert!(mounts.len() <= text.split(|byte| *byte == b'\n').count());
}

/// One pattern on each line, with `!` before those that include. The path follows a NUL.
fn patterns(text: &[u8]) {
    let (list, path) = text.split_at(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
    let Ok(list) = std::str::from_utf8(list) else { return };
    let mut patterns = Patterns::default();
    let mut is_empty = true;
    for line in list.lines() {
        let added = match line.strip_prefix('!') {
            Some(line) => patterns.include(line),
            None => patterns.exclude(line),
        };
        is_empty &= added.is_err();
    }
    assert_eq!(patterns.is_empty(), is_empty);
    for is_directory in [false, true] {
        let is_excluded = patterns.excludes(path.get(1..).unwrap_or_default(), is_directory);
        assert!(!is_excluded || !is_empty);
    }
}

fn policy(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(policy) = text.parse::<Policy>() {
        assert_eq!(policy.to_string().parse().ok(), Some(policy), "{policy}");
    }
}

fn auth_file(text: &[u8]) {
    if let Some(user) = remote::auth_file(text) {
        assert!(!user.is_empty());
    }
}

fn registries_conf(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    assert_ne!(remote::registries_conf(text), Some(0));
}

fn signature_policy(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    // Nothing is accepted by a text that does not say so.
    assert!(remote::policy(text) != Some(true) || text.contains("insecureAcceptAnything") || text.contains('\\'));
}

fn challenges(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    assert!(remote::challenges(text) <= text.len());
}

/// The first byte is the length of the pieces; the result does not depend on it.
fn multipart(text: &[u8]) {
    let Some((piece, body)) = text.split_first() else { return };
    let bytes = remote::multipart(body, usize::from(*piece));
    assert!(bytes.is_none_or(|bytes| bytes <= body.len() as u64));
    assert_eq!(bytes, remote::multipart(body, body.len()));
}

fn refusal(text: &[u8]) {
    let message = remote::refusal(text).unwrap_or_default();
    assert!(!message.contains(char::is_control), "{message:?}");
}

fn manifest(text: &[u8]) {
    assert!(!remote::manifest(text) || text.contains(&b'{'));
}

fn reference(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }
}
fn container(text: &[u8]) {
    let Ok(image) = ImageProcess::parse(text) else { return };
    let place = ContainerPlace {
        root: "rootfs".into(),
        hostname: "host".into(),
        files: GeneratedFiles::default(),
        user: ContainerUser::default(),
        limits: Vec::new(),
        cgroups_path: None,
        seccomp: None,
        terminal_size: None,
        volumes: Default::default(),
        user_namespace: None,
    };
    for read_only in [false, true] {
        let Ok(spec) = runtime_spec(&image, &RunOptions { read_only, ..RunOptions::default() }, &place) else {
            continue;
        };
        let process = spec.process().as_ref().expect("there is always a process");
        assert!(process.args().as_ref().is_some_and(|words| !words.is_empty()));
        // An image chooses no annotation, and no mount but that of a volume.
        assert!(spec.annotations().as_ref().is_none_or(|annotations| annotations.is_empty()));
        let mounts = spec.mounts().as_deref().unwrap_or_default();
        let names = mounts.iter().map(|mount| mount.destination().to_string_lossy().into_owned());
        assert!(names.into_iter().all(|path| path.starts_with('/') && !path.split('/').any(|name| name == "..")));
    }
}

/// The user, the file with users and that with groups follow each other, with a NUL between.
fn user(text: &[u8]) {
    let mut parts = text.splitn(3, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (name, passwd, group) = (next(), next(), next());
    let Ok(name) = std::str::from_utf8(name) else { return };
    if let Ok(user) = ContainerUser::resolve(name, passwd, group) {
        assert_eq!(user.additional_gids.first().copied(), Some(user.gid).filter(|_| !name.is_empty()));
    }
}

fn seccomp(text: &[u8]) {
    let Ok(profile) = SeccompProfile::parse(text) else { return };
    let capabilities = ["CAP_CHOWN".to_owned()];
    let target = SeccompTarget { arch: "x86_64", kernel: Some(KernelVersion(6, 1)), capabilities: &capabilities };
    let _ = profile.filter(&target);
}
