//! Converts the limits of a control group into the form of the runtime specification.

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder,
};

use super::defaults::CPU_PERIOD;
use super::{CgroupLimits, RuntimeError};

/// Smallest number of bytes of memory: the runtimes need some before the command starts.
const SMALLEST_MEMORY: u64 = 6 << 20;
/// Smallest quota that the kernel accepts, in microseconds (`min_cfs_quota_period` in `kernel/sched/core.c`).
const SMALLEST_QUOTA: u64 = 1000;

/// Returns the limits, and the rule that the container uses no device but those that the runtime itself allows.
pub(super) fn resources(limits: &CgroupLimits) -> Result<LinuxResources, RuntimeError> {
    let no_device = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
    let mut resources = LinuxResourcesBuilder::default().devices(vec![no_device]).build()?;
    if let Some(bytes) = limits.memory {
        if bytes < SMALLEST_MEMORY {
            let rule = "the smallest limit is 6291456 bytes (6m)";
            return Err(RuntimeError::Limit { option: "--memory", value: bytes, rule });
        }
        // The limit of memory and swap together.
        let both = bytes.checked_mul(2).and_then(|both| i64::try_from(both).ok());
        let (limit, swap) = i64::try_from(bytes).ok().zip(both).ok_or_else(|| too_large("--memory", bytes))?;
        resources.set_memory(Some(LinuxMemoryBuilder::default().limit(limit).swap(swap).build()?));
    }
    if let Some(quota) = limits.cpu_quota {
        if quota < SMALLEST_QUOTA {
            let rule = "the smallest quota is 1000 microseconds in 100000 (--cpus=0.01)";
            return Err(RuntimeError::Limit { option: "--cpus", value: quota, rule });
        }
        let limit = i64::try_from(quota).map_err(|_| too_large("--cpus", quota))?;
        resources.set_cpu(Some(LinuxCpuBuilder::default().quota(limit).period(CPU_PERIOD).build()?));
    }
    if let Some(pids) = limits.pids {
        let limit = i64::try_from(pids).map_err(|_| too_large("pids", pids))?;
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    Ok(resources)
}

fn too_large(option: &'static str, value: u64) -> RuntimeError {
    RuntimeError::Limit { option, value, rule: "the kernel counts up to 9223372036854775807" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(memory: Option<u64>, cpu_quota: Option<u64>) -> Result<serde_json::Value, RuntimeError> {
        let limits = CgroupLimits { memory, cpu_quota, pids: None };
        resources(&limits).map(|resources| serde_json::to_value(resources).unwrap())
    }

    #[test]
    fn limits_are_those_of_podman() {
        let none = of(None, None).unwrap();
        assert_eq!(none, serde_json::json!({"devices": [{"allow": false, "access": "rwm"}]}));
        let both = of(Some(64 << 20), Some(150_000)).unwrap();
        assert_eq!(both["memory"], serde_json::json!({"limit": 67_108_864, "swap": 134_217_728}));
        assert_eq!(both["cpu"], serde_json::json!({"quota": 150_000, "period": 100_000}));
    }

    #[test]
    fn limits_that_the_kernel_refuses() {
        assert!(of(Some(SMALLEST_MEMORY - 1), None).is_err() && of(Some(SMALLEST_MEMORY), None).is_ok());
        assert!(of(Some(1 << 62), None).is_err() && of(Some((1 << 62) - 1), None).is_ok());
        assert!(of(None, Some(999)).is_err() && of(None, Some(1000)).is_ok());
    }
}
