//! What the kernel does although no documentation promises it, tested once in each boot.
//!
//! The results are files in `/run/composefs/self-test`, for users in `composefs/self-test` of `XDG_RUNTIME_DIR`. What
//! cannot be recorded is tested again.

use std::fs::{self, DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use libcomposefs_fuse::{LazyLayersError, test_layers, test_lazy_layers};
use libcomposefs_store::publish::replace_file;
use libcomposefs_sys::user_namespace::is_in_one;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use serde_json::{Value, json};

/// Most bytes of a file with a result.
const RECORD_MAX: u64 = 4096;

/// A test of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelfTest {
    /// Overlayfs joins layers that are attached nowhere, and looks into the next layer after an error.
    LazyLayers,
    /// Overlayfs joins data-only layers in a user namespace.
    UserLayers,
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestFailureKind {
    /// The kernel does not join the layers.
    Layers,
    /// Overlayfs does not look into the next layer.
    NextLayer,
    /// The test could not be made, so that its result is not recorded.
    Untested,
}

/// The result of a test that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SelfTestFailure {
    pub(crate) kind: TestFailureKind,
    pub(crate) reason: String,
}

impl SelfTest {
    /// Returns the result that this boot has recorded, or tests.
    pub(crate) fn result(self) -> Result<(), SelfTestFailure> {
        match directory().and_then(|directory| read(&directory.join(self.name()))) {
            Some(recorded) => recorded,
            None => self.run(),
        }
    }

    /// Tests, and records the result.
    pub(crate) fn run(self) -> Result<(), SelfTestFailure> {
        let result = match self {
            Self::LazyLayers => test_lazy_layers().map_err(|error| {
                let kind = match error {
                    LazyLayersError::Layers(_) => TestFailureKind::Layers,
                    LazyLayersError::NextLayer(_) => TestFailureKind::NextLayer,
                    _ => TestFailureKind::Untested,
                };
                SelfTestFailure { kind, reason: error.to_string() }
            }),
            Self::UserLayers => test_layers()
                .map_err(|error| SelfTestFailure { kind: TestFailureKind::Layers, reason: error.to_string() }),
        };
        if !matches!(&result, Err(SelfTestFailure { kind: TestFailureKind::Untested, .. })) {
            // A result that is not recorded is found again.
            let _ = self.write(&result);
        }
        result
    }

    fn name(self) -> &'static str {
        match self {
            Self::LazyLayers => "lazy-layers",
            Self::UserLayers => "user-layers",
        }
    }

    fn write(self, result: &Result<(), SelfTestFailure>) -> Option<()> {
        let directory = directory()?;
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
        let mut record = json!({ "boot": boot()?, "works": result.is_ok() });
        if let Err(failure) = result {
            record["next_layer"] = (failure.kind == TestFailureKind::NextLayer).into();
            record["reason"] = failure.reason.as_str().into();
        }
        let write = |file: &mut File| -> anyhow::Result<()> { Ok(file.write_all(record.to_string().as_bytes())?) };
        replace_file(&directory.join(self.name()), 0o600, write).ok().map(drop)
    }
}

/// Returns the directory of the results, which only this user can write.
fn directory() -> Option<PathBuf> {
    if geteuid().is_root() && is_in_one() == Some(false) {
        return Some("/run/composefs/self-test".into());
    }
    let runtime = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    (runtime.is_absolute() && is_own(&fs::metadata(&runtime).ok()?)).then(|| runtime.join("composefs/self-test"))
}

fn is_own(metadata: &fs::Metadata) -> bool {
    metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0
}

/// Returns what tells this boot and kernel from others.
fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{} {}", id.trim(), rustix::system::uname().release().to_string_lossy()))
}

/// Reads a result of this boot.
fn read(path: &Path) -> Option<Result<(), SelfTestFailure>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || !is_own(&metadata) {
        return None;
    }
    let mut text = Vec::new();
    file.take(RECORD_MAX).read_to_end(&mut text).ok()?;
    let record: Value = serde_json::from_slice(&text).ok()?;
    if record["boot"].as_str()? != boot()? {
        return None;
    }
    if record["works"].as_bool()? {
        return Some(Ok(()));
    }
    let kind = if record["next_layer"].as_bool()? { TestFailureKind::NextLayer } else { TestFailureKind::Layers };
    Some(Err(SelfTestFailure { kind, reason: record["reason"].as_str()?.to_owned() }))
}
