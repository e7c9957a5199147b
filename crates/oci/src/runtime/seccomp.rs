//! Converts a seccomp profile of containers-common into the filter of the runtime specification, as podman does.
//!
//! The profile has rules for all architectures and capabilities; the runtime specification has none of these
//! conditions. The conversion keeps the rules whose conditions hold and drops the conditions.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompBuilder, LinuxSyscall, LinuxSyscallBuilder,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::RuntimeError;

/// A seccomp profile, such as `/usr/share/containers/seccomp.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompProfile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<ArchFamily>,
    #[serde(default)]
    syscalls: Vec<SyscallRule>,
}

/// An architecture, and the other architectures whose programs its kernels run.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchFamily {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SyscallRule {
    #[serde(default)]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: RuleCondition,
    #[serde(default)]
    excludes: RuleCondition,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuleCondition {
    arches: Option<Vec<String>>,
    caps: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Major and minor version of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// Reads the version out of a release such as `6.12.48+deb13-amd64`.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|byte: char| !byte.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// System that a seccomp filter is for.
#[derive(Debug, Clone, Copy)]
pub struct SeccompTarget<'a> {
    /// Architecture, as in [`std::env::consts::ARCH`].
    pub arch: &'a str,
    /// Version of the kernel; `None` if it is unknown, which counts as the oldest.
    pub kernel: Option<KernelVersion>,
    /// Names of the capabilities in the bounding set, such as `CAP_CHOWN`.
    pub capabilities: &'a [String],
}

impl SeccompProfile {
    /// Reads a profile.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Seccomp`] if the bytes are not JSON or a field has another type.
    pub fn parse(profile: &[u8]) -> Result<Self, RuntimeError> {
        serde_json::from_slice(profile).map_err(RuntimeError::Seccomp)
    }

    /// Returns the filter that the profile has for a system.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::SeccompValue`] for an architecture or a kernel version with an unknown meaning.
    pub fn filter(&self, target: &SeccompTarget<'_>) -> Result<LinuxSeccomp, RuntimeError> {
        let mut syscalls = Vec::new();
        for rule in &self.syscalls {
            if rule.applies(target)? && !rule.names.is_empty() {
                syscalls.push(rule.converted()?);
            }
        }
        let mut filter = LinuxSeccompBuilder::default().default_action(self.default_action).syscalls(syscalls);
        if let Some(errno) = self.default_errno_ret {
            filter = filter.default_errno_ret(errno);
        }
        let architectures = self.architectures_of(target.arch)?;
        // Without any the runtime takes the native one.
        if !architectures.is_empty() {
            filter = filter.architectures(architectures);
        }
        Ok(filter.build()?)
    }

    fn architectures_of(&self, arch: &str) -> Result<Vec<Arch>, RuntimeError> {
        let native = format!("SCMP_ARCH_{}", libseccomp_arch(arch));
        let family = self.arch_map.iter().find(|family| family.architecture == native);
        let of_family = family
            .into_iter()
            .flat_map(|family| std::iter::once(&family.architecture).chain(family.sub_architectures.iter().flatten()));
        self.architectures.iter().chain(of_family).map(|name| parse_name("architecture", name)).collect()
    }
}

impl SyscallRule {
    fn applies(&self, target: &SeccompTarget<'_>) -> Result<bool, RuntimeError> {
        let arch = rule_arch(target.arch);
        let is_target = |arches: &Vec<String>| arches.iter().any(|name| name == arch);
        let has = |name: &String| target.capabilities.contains(name);
        let lists = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
        let (includes, excludes) = (&self.includes, &self.excludes);
        let is_excluded = lists(&excludes.arches).is_some_and(|arches| is_target(&arches))
            || lists(&excludes.caps).is_some_and(|caps| caps.iter().any(has))
            || excludes.has_kernel(target.kernel)?.unwrap_or(false);
        let is_included = lists(&includes.arches).is_none_or(|arches| is_target(&arches))
            && lists(&includes.caps).is_none_or(|caps| caps.iter().all(has))
            && includes.has_kernel(target.kernel)?.unwrap_or(true);
        Ok(is_included && !is_excluded)
    }

    fn converted(&self) -> Result<LinuxSyscall, RuntimeError> {
        let mut call = LinuxSyscallBuilder::default().names(self.names.clone()).action(self.action);
        if let Some(errno) = self.errno_ret {
            call = call.errno_ret(errno);
        }
        if let Some(args) = self.args.clone().filter(|args| !args.is_empty()) {
            call = call.args(args);
        }
        Ok(call.build()?)
    }
}

impl RuleCondition {
    /// Compares the kernel with the smallest version of the condition; `None` if the condition has none.
    fn has_kernel(&self, kernel: Option<KernelVersion>) -> Result<Option<bool>, RuntimeError> {
        let Some(smallest) = self.min_kernel.as_deref().filter(|version| !version.is_empty()) else {
            return Ok(None);
        };
        let parsed = KernelVersion::parse(smallest)
            .ok_or_else(|| RuntimeError::SeccompValue { what: "kernel version", value: smallest.to_owned() })?;
        Ok(Some(kernel.is_some_and(|kernel| kernel >= parsed)))
    }
}

/// Returns the name that libseccomp's constants have for an architecture of Rust.
fn libseccomp_arch(arch: &str) -> String {
    match arch {
        "powerpc64" => "PPC64LE".to_owned(),
        other => other.to_ascii_uppercase(),
    }
}

/// Returns the name that the conditions of rules have for an architecture of Rust: that of libseccomp's programs.
fn rule_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn parse_name<T: DeserializeOwned>(what: &'static str, name: &str) -> Result<T, RuntimeError> {
    serde_json::from_value(serde_json::Value::from(name))
        .map_err(|_| RuntimeError::SeccompValue { what, value: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"defaultErrno":"ENOSYS",
        "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]},
            {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]},
            {"architecture":"SCMP_ARCH_OF_2040","subArchitectures":null}],
        "syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW","args":[],"comment":"","includes":{},"excludes":{}},
            {"names":["personality"],"action":"SCMP_ACT_ALLOW",
                "args":[{"index":0,"value":8,"valueTwo":0,"op":"SCMP_CMP_EQ"}]},
            {"names":["arch_prctl"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64","x32"]}},
            {"names":["of_arm"],"action":"SCMP_ACT_ALLOW","excludes":{"arches":["amd64"]}},
            {"names":["reboot"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_BOOT"]}},
            {"names":["reboot"],"action":"SCMP_ACT_ERRNO","errno":"EPERM","errnoRet":1,
                "excludes":{"caps":["CAP_SYS_BOOT"]}},
            {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
            {"names":["old"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"4.8"}}]}"#;

    fn names(arch: &str, capabilities: &[&str], kernel: Option<KernelVersion>) -> Vec<String> {
        let capabilities: Vec<_> = capabilities.iter().map(|&name| name.to_owned()).collect();
        let target = SeccompTarget { arch, kernel, capabilities: &capabilities };
        let filter = SeccompProfile::parse(PROFILE.as_bytes()).unwrap().filter(&target).unwrap();
        let calls = filter.syscalls().as_deref().unwrap();
        calls.iter().map(|call| format!("{}:{:?}", call.names().join(","), call.errno_ret())).collect()
    }

    #[test]
    fn rules_apply_by_architecture_capability_and_kernel() {
        let new = Some(KernelVersion(6, 1));
        let amd64 = names("x86_64", &["CAP_CHOWN"], new);
        assert_eq!(amd64, ["read:None", "personality:None", "arch_prctl:None", "reboot:Some(1)", "ptrace:None"]);
        let arm64 = names("aarch64", &["CAP_SYS_BOOT"], None);
        assert_eq!(arm64, ["read:None", "personality:None", "of_arm:None", "reboot:None", "old:None"]);
        assert!(!names("x86_64", &[], Some(KernelVersion(4, 7))).contains(&"ptrace:None".to_owned()));
    }

    #[test]
    fn the_architecture_brings_those_it_also_runs() {
        let profile = SeccompProfile::parse(PROFILE.as_bytes()).unwrap();
        let of = |arch| profile.architectures_of(arch).unwrap();
        assert_eq!(of("x86_64"), [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]);
        assert_eq!(of("aarch64"), [Arch::ScmpArchAarch64, Arch::ScmpArchArm]);
        assert_eq!(of("riscv64"), []);
        let error = profile.architectures_of("of_2040").unwrap_err().to_string();
        assert_eq!(error, "the seccomp profile is malformed: unknown architecture \"SCMP_ARCH_OF_2040\"");
    }

    #[test]
    fn kernel_releases_are_read() {
        assert_eq!(KernelVersion::parse("6.12.48+deb13-amd64"), Some(KernelVersion(6, 12)));
        assert_eq!(KernelVersion::parse("4.8"), Some(KernelVersion(4, 8)));
        assert_eq!(KernelVersion::parse("six"), None);
        assert!(KernelVersion(4, 19) > KernelVersion(4, 8));
    }

    #[test]
    fn a_malformed_profile_is_refused() {
        for profile in ["", "{}", r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#] {
            assert!(SeccompProfile::parse(profile.as_bytes()).is_err(), "{profile}");
        }
    }
}
