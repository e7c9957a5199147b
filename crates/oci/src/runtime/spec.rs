//! Assembles the configuration of a runtime from its parts.

use std::collections::{HashMap, HashSet};

use oci_spec::runtime::{
    BoxBuilder, Linux, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResources, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
    Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use super::defaults::{CAPABILITIES, MASKED_PATHS, READ_ONLY_PATHS, UMASK};
use super::environment::environment;
use super::mounts::{clean_working_dir, mounts};
use super::resources::resources;
use super::{ContainerNetwork, ContainerPlace, ImageProcess, ProcessLimit, RunOptions, RuntimeError};

const VERSION: &str = "1.0.2";

// The builders take fields that are not set from a default of their crate, which is not podman's. All fields that have
// such a default are therefore set here.

/// Returns the configuration of a runtime for the process of an image.
///
/// # Errors
///
/// Texts, paths and limits that no process can have, and a missing command.
pub fn runtime_spec(image: &ImageProcess, options: &RunOptions, place: &ContainerPlace) -> Result<Spec, RuntimeError> {
    let process = process(image, options, place)?;
    let linux = linux(options, place, resources(&options.limits)?)?;
    let root = RootBuilder::default().path(&place.root).readonly(options.read_only).build()?;
    let spec = SpecBuilder::default().version(VERSION).root(root).mounts(mounts(image, options, place)?);
    let spec = spec.process(process).hostname(&place.hostname).linux(linux).annotations(HashMap::new());
    Ok(spec.build()?)
}

fn process(image: &ImageProcess, options: &RunOptions, place: &ContainerPlace) -> Result<Process, RuntimeError> {
    let working_dir = clean_working_dir(image)?;
    let user = &place.user;
    let account = UserBuilder::default().uid(user.uid).gid(user.gid).umask(UMASK);
    let account = account.additional_gids(user.additional_gids.clone()).build()?;
    let limits = place.limits.iter().map(|limit| rlimit(*limit)).collect::<Result<Vec<_>, _>>()?;
    let process = ProcessBuilder::default().terminal(options.terminal).user(account).rlimits(limits);
    let process = process.args(command(image, options)?).env(environment(image, options, place, &working_dir)?);
    let process = match place.terminal_size.filter(|_| options.terminal) {
        Some((rows, columns)) => {
            process.console_size(BoxBuilder::default().height(u64::from(rows)).width(u64::from(columns)).build()?)
        }
        None => process,
    };
    let process = process.cwd(working_dir).capabilities(capabilities(user.uid)?).no_new_privileges(false);
    Ok(process.build()?)
}

fn command(image: &ImageProcess, options: &RunOptions) -> Result<Vec<String>, RuntimeError> {
    let rest = if options.command.is_empty() { &image.cmd } else { &options.command };
    let words: Vec<String> = image.entrypoint.iter().chain(rest).cloned().collect();
    if let Some(word) = words.iter().find(|word| word.contains('\0')) {
        return Err(RuntimeError::NulByte { field: "argument", value: word.clone() });
    }
    match words.first() {
        // An image may have the empty word as its command.
        Some(program) if program.is_empty() => Err(RuntimeError::EmptyCommand),
        Some(_) => Ok(words),
        None => Err(RuntimeError::NoCommand),
    }
}

/// Only root has its capabilities at the start; another user can gain them by a file of root's with a set-user-ID bit.
fn capabilities(uid: u32) -> Result<LinuxCapabilities, RuntimeError> {
    let all = HashSet::from(CAPABILITIES);
    let at_start = if uid == 0 { all.clone() } else { HashSet::new() };
    let sets = LinuxCapabilitiesBuilder::default().bounding(all).effective(at_start.clone()).permitted(at_start);
    Ok(sets.inheritable(HashSet::new()).ambient(HashSet::new()).build()?)
}

fn rlimit(limit: ProcessLimit) -> Result<PosixRlimit, RuntimeError> {
    let (kind, soft, hard) = match limit {
        ProcessLimit::OpenFiles(soft, hard) => (PosixRlimitType::RlimitNofile, soft, hard),
        ProcessLimit::Processes(soft, hard) => (PosixRlimitType::RlimitNproc, soft, hard),
    };
    Ok(PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build()?)
}

fn linux(options: &RunOptions, place: &ContainerPlace, resources: LinuxResources) -> Result<Linux, RuntimeError> {
    let owned = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
    let mut kinds = vec![
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ];
    let mut sysctl = HashMap::new();
    if options.network == ContainerNetwork::None {
        kinds.push(LinuxNamespaceType::Network);
        // Root of the container may send ICMP echo requests.
        sysctl.insert("net.ipv4.ping_group_range".to_owned(), "0 0".to_owned());
    }
    let namespace = |kind| LinuxNamespaceBuilder::default().typ(kind).build();
    let namespaces: Vec<LinuxNamespace> = kinds.into_iter().map(namespace).collect::<Result<_, _>>()?;
    let mut linux = LinuxBuilder::default().namespaces(namespaces).sysctl(sysctl).resources(resources);
    linux = linux.masked_paths(owned(&MASKED_PATHS)).readonly_paths(owned(&READ_ONLY_PATHS));
    if let Some(path) = &place.cgroups_path {
        linux = linux.cgroups_path(path);
    }
    let mut linux = linux.build()?;
    linux.set_seccomp(place.seccomp.clone()).set_devices(None);
    Ok(linux)
}
