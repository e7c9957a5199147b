//! Resolves the user of an image by the image's own `/etc/passwd` and `/etc/group`, as podman does.

use std::collections::HashSet;

use super::RuntimeError;

/// Largest user or group ID that podman accepts.
const LARGEST_ID: u32 = i32::MAX as u32;

/// User that the process of a container has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ContainerUser {
    /// User ID.
    pub uid: u32,
    /// Primary group ID.
    pub gid: u32,
    /// All groups of the process; empty if the image names no user.
    pub additional_gids: Vec<u32>,
    /// Home directory; empty if `/etc/passwd` does not have the user.
    pub home: String,
}

impl ContainerUser {
    /// Resolves `user`: `NAME`, `UID`, `NAME:GROUP`, `UID:GID` or empty for root. A number is never taken for a name,
    /// and need not be in the files. Lines that are malformed are no accounts.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::UnknownUser`], [`RuntimeError::UnknownGroup`] and [`RuntimeError::IdOutOfRange`].
    pub fn resolve(user: &str, passwd: &[u8], group: &[u8]) -> Result<Self, RuntimeError> {
        let (name, wanted_group) = match user.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (user, None),
        };
        let uid = if name.is_empty() { Some(0) } else { numeric_id(name)? };
        let account = accounts(passwd).find(|account| match uid {
            Some(uid) => account.uid == uid,
            None => account.name == name.as_bytes(),
        });
        let mut resolved = match (&account, uid) {
            (Some(account), _) => {
                let home = String::from_utf8_lossy(account.home).into_owned();
                Self { uid: account.uid, gid: account.gid, home, ..Self::default() }
            }
            (None, Some(uid)) => Self { uid, ..Self::default() },
            (None, None) => return Err(RuntimeError::UnknownUser(name.to_owned())),
        };
        if let Some(wanted) = wanted_group.filter(|wanted| !wanted.is_empty()) {
            resolved.gid = group_id(wanted, group)?;
        }
        if !user.is_empty() {
            resolved.additional_gids.push(resolved.gid);
        }
        // The groups of a user count if the image names no group.
        if let (Some(account), None, false) = (account, wanted_group, user.is_empty()) {
            let mut seen = HashSet::from([resolved.gid]);
            let member_of = groups(group).filter(|group| group.has_member(account.name)).map(|group| group.gid);
            resolved.additional_gids.extend(member_of.filter(|gid| seen.insert(*gid)));
        }
        Ok(resolved)
    }
}

fn group_id(wanted: &str, group: &[u8]) -> Result<u32, RuntimeError> {
    if let Some(gid) = numeric_id(wanted)? {
        return Ok(gid);
    }
    let found = groups(group).find(|group| group.name == wanted.as_bytes());
    found.map(|group| group.gid).ok_or_else(|| RuntimeError::UnknownGroup(wanted.to_owned()))
}

/// Returns the ID if the text consists of digits.
fn numeric_id(text: &str) -> Result<Option<u32>, RuntimeError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse().ok().filter(|id| *id <= LARGEST_ID);
    id.map(Some).ok_or_else(|| RuntimeError::IdOutOfRange(text.to_owned()))
}

/// A line of `/etc/passwd`.
struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// A line of `/etc/group`.
struct AccountGroup<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl AccountGroup<'_> {
    fn has_member(&self, name: &[u8]) -> bool {
        self.members.split(|byte| *byte == b',').any(|member| member == name)
    }
}

fn accounts(passwd: &[u8]) -> impl Iterator<Item = Account<'_>> {
    lines(passwd).filter_map(|mut fields| {
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (id_field(fields.next()?)?, id_field(fields.next()?)?);
        let (_gecos, home) = (fields.next()?, fields.next()?);
        (!name.is_empty()).then_some(Account { name, uid, gid, home })
    })
}

fn groups(group: &[u8]) -> impl Iterator<Item = AccountGroup<'_>> {
    lines(group).filter_map(|mut fields| {
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = id_field(fields.next()?)?;
        (!name.is_empty()).then_some(AccountGroup { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn lines(file: &[u8]) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
    file.split(|byte| *byte == b'\n').map(|line| line.trim_ascii().split(|byte| *byte == b':'))
}

/// Unlike the parser of podman, which takes a malformed number for 0, root.
fn id_field(field: &[u8]) -> Option<u32> {
    numeric_id(std::str::from_utf8(field).ok()?).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# comment\n\napp:x:1000:1001:App:/home/app:/bin/sh\n\
        bad:x:a:b:Bad:/:/bin/sh\nshort:x:5:5\n7:x:70:71::/seven:\n";
    const GROUP: &[u8] = b"root:x:0:\napp:x:1001:\nextra:x:2000:app,other\nmore:x:2001:app\nagain:x:2001:app\n";

    fn resolve(user: &str) -> Result<ContainerUser, RuntimeError> {
        ContainerUser::resolve(user, PASSWD, GROUP)
    }

    /// The expected values are those of podman 5.4.
    #[test]
    fn users_are_those_of_podman() {
        for (user, uid, gid, additional_gids, home) in [
            ("", 0, 0, vec![], "/root"),
            ("root", 0, 0, vec![0], "/root"),
            ("app", 1000, 1001, vec![1001, 2000, 2001], "/home/app"),
            ("1000", 1000, 1001, vec![1001, 2000, 2001], "/home/app"),
            ("app:1001", 1000, 1001, vec![1001], "/home/app"),
            ("app:", 1000, 1001, vec![1001], "/home/app"),
            ("1234", 1234, 0, vec![0], ""),
            ("1234:extra", 1234, 2000, vec![2000], ""),
            ("0:2000", 0, 2000, vec![2000], "/root"),
            (":2000", 0, 2000, vec![2000], "/root"),
            // The user with the ID 7, not the one of that name.
            ("7", 7, 0, vec![0], ""),
            ("2147483647:2147483647", 2_147_483_647, 2_147_483_647, vec![2_147_483_647], ""),
        ] {
            let expected = ContainerUser { uid, gid, additional_gids, home: home.to_owned() };
            assert_eq!(resolve(user).unwrap(), expected, "{user:?}");
        }
    }

    #[test]
    fn unknown_names_and_large_numbers_are_refused() {
        for (user, message) in [
            ("stranger", "user \"stranger\" is not in the image's /etc/passwd"),
            ("bad", "user \"bad\" is not"),
            ("short", "user \"short\" is not"),
            ("-1", "user \"-1\" is not"),
            ("+5", "user \"+5\" is not"),
            ("app:nogroup", "group \"nogroup\" is not in the image's /etc/group"),
            ("2147483648", "user or group 2147483648 is out of range"),
            ("0:99999999999999999999", "user or group 99999999999999999999 is out of range"),
        ] {
            let error = resolve(user).unwrap_err().to_string();
            assert!(error.starts_with(message), "{user:?}: {error}");
        }
    }

    #[test]
    fn an_image_without_the_files_has_numbers_only() {
        assert_eq!(ContainerUser::resolve("", b"", b"").unwrap(), ContainerUser::default());
        assert_eq!(ContainerUser::resolve("7:8", b"", b"").unwrap().gid, 8);
        assert!(ContainerUser::resolve("root", b"", b"").is_err());
    }
}
