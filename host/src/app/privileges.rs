//! Rights that are given up once sockets are bound and keys are read: root becomes the user of `server.user`, and nobody gets anything back.
//!
//! To be called while the process has one thread: what is started later has no more rights than this one.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{getegid, geteuid, getgid, getuid};

use super::keys;
use crate::config::{Config, Server};

/// Where the kernel says what a process may.
const STATUS: &str = "/proc/self/status";

/// A user and a group by their numbers, and the user's name where the system knows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    name: Option<CString>,
    uid: u32,
    gid: u32,
}

/// Finds out whom we are to become; `None` where we stay who we are.
///
/// # Errors
/// There is no such user or group, or only root could become it.
pub(super) fn wanted(server: &Server) -> Result<Option<Identity>> {
    let Some(user) = &server.user else {
        if geteuid().is_root() {
            tracing::warn!("the server runs as root and stays root: with server.user it would give that up once its sockets are bound");
        }
        return Ok(None);
    };
    let identity = Identity::find(user, server.group.as_deref())?;
    if geteuid().is_root() {
        ensure!(identity.uid != 0, "server.user = \"{user}\" is root: leave the key out to stay root");
        return Ok(Some(identity));
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    ensure!(
        identity.uid == uid && (server.group.is_none() || identity.gid == gid),
        "server.user is \"{user}\" (user {}, group {}), and the process runs as user {uid}, group {gid}: only root can become another",
        identity.uid,
        identity.gid,
    );
    Ok(None)
}

impl Identity {
    fn find(user: &str, group: Option<&str>) -> Result<Self> {
        let number = user.parse::<u32>().ok();
        let name = CString::new(user).context("server.user")?;
        let (uid, gid, name) = match (user_by_name(&name), number) {
            (Some((uid, gid)), _) => (uid, Some(gid), Some(name)),
            (None, Some(uid)) => (uid, None, None),
            (None, None) => bail!("server.user: the system knows no user \"{user}\""),
        };
        let gid = match group {
            None => gid.with_context(|| format!("server.user is the number {user}: server.group must say its group"))?,
            Some(group) => {
                let name = CString::new(group).context("server.group")?;
                let found = group_by_name(&name).or_else(|| group.parse().ok());
                found.with_context(|| format!("server.group: the system knows no group \"{group}\""))?
            }
        };
        Ok(Self { name, uid, gid })
    }

    /// Makes the data folder as this user's own, or looks whether what is there is.
    ///
    /// # Errors
    /// It belongs to somebody else: what that would break is better heard of now.
    pub(super) fn take_folder(&self, folder: &Path) -> Result<()> {
        let missing: Vec<PathBuf> =
            folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).map(Into::into).collect();
        keys::make_folder(folder)?;
        for made in &missing {
            chown(made, Some(self.uid), Some(self.gid))
                .with_context(|| format!("{} cannot be given to user {}", made.display(), self.uid))?;
        }
        let inside = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
        let entries = inside.filter_map(|entry| Some(entry.ok()?.path()));
        for path in std::iter::once(folder.to_path_buf()).chain(entries) {
            let owner = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?.uid();
            ensure!(
                owner == self.uid,
                "{} belongs to user {owner}, and the server is to run as user {}: chown -R {}:{} {}",
                path.display(),
                self.uid,
                self.uid,
                self.gid,
                folder.display(),
            );
        }
        Ok(())
    }

    /// Becomes this user, with the groups that the system has it in, and looks whether there is a way back.
    ///
    /// # Errors
    /// The system refuses, or something is left of the rights of root.
    pub(super) fn assume(&self) -> Result<()> {
        become_user(self.name.as_ref(), self.uid, self.gid).context("the rights of root cannot be given up")?;
        let is_other = [getuid().as_raw(), geteuid().as_raw()] == [self.uid; 2] && [getgid().as_raw(), getegid().as_raw()] == [self.gid; 2];
        ensure!(is_other && !can_become_root(), "the rights of root are not given up");
        // A kernel without /proc says nothing; that root is out of reach was seen above.
        if let Ok(status) = fs::read_to_string(STATUS) {
            ensure!(!has_capabilities(&status), "capabilities are left of the rights of root");
        }
        tracing::info!(uid = self.uid, gid = self.gid, "the rights of root are given up");
        Ok(())
    }
}

/// Says which files can be read no more: what they hold now stays in force, and neither they nor the configuration can be read again.
pub(super) fn say_what_is_out_of_reach(config: &Config) {
    let first = config.tls.iter().flat_map(|tls| [&tls.certificate, &tls.key]);
    let files = first.chain(config.certificates.iter().flat_map(|named| [&named.certificate, &named.key]));
    for file in files.filter(|file| fs::File::open(file).is_err()) {
        tracing::warn!(
            "{} can be read by root alone: SIGHUP is refused until the user can read it, and where it changes, that takes a restart",
            file.display()
        );
    }
}

/// Returns what is to be added to a failure of which privileges that were given up are the reason.
pub(super) fn out_of_reach(config: &Config, reason: &str) -> String {
    match &config.server.user {
        Some(user) if reason.contains(&std::io::Error::from_raw_os_error(libc::EACCES).to_string()) => {
            format!(" (files are read as the user \"{user}\" now, see server.user)")
        }
        Some(_) | None => String::new(),
    }
}

/// Whether something in the status of a process can be used, or passed on to a program.
fn has_capabilities(status: &str) -> bool {
    let held = status.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| matches!(*name, "CapPrm" | "CapEff" | "CapAmb"));
    held.into_iter().any(|(_, set)| set.trim().bytes().any(|digit| digit != b'0'))
}

/// Says that no program that is run from here on has more rights than we (`no_new_privs`).
#[expect(unsafe_code, reason = "the kernel is asked for a promise about this thread")]
pub(super) fn forbid_more() {
    // SAFETY: `prctl` with these numbers touches no memory of ours.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if done != 0 {
        tracing::debug!("the kernel does not know no_new_privs");
    }
}

/// Sets groups, group and user of all threads: the C library does that, the bare system calls do it for one.
#[expect(unsafe_code, reason = "only the C library changes the user of a whole process")]
fn become_user(name: Option<&CString>, uid: u32, gid: u32) -> std::io::Result<()> {
    let checked = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    // SAFETY: the name is a string that ends in 0, the list has as many groups as it says; nothing is written.
    unsafe {
        match name {
            Some(name) => checked(libc::initgroups(name.as_ptr(), gid))?,
            None => checked(libc::setgroups(1, &raw const gid))?,
        }
        checked(libc::setgid(gid))?;
        checked(libc::setuid(uid))
    }
}

/// Tries to become root again.
#[expect(unsafe_code, reason = "only the C library changes the user of a whole process")]
fn can_become_root() -> bool {
    // SAFETY: numbers alone.
    unsafe { libc::setuid(0) == 0 || libc::seteuid(0) == 0 || libc::setgid(0) == 0 }
}

#[expect(unsafe_code, reason = "users come from files, LDAP and elsewhere: the C library knows where")]
fn user_by_name(name: &CString) -> Option<(u32, u32)> {
    // SAFETY: the name ends in 0. The answer is of the library until it is asked again, which nobody else does: there is one thread.
    unsafe { libc::getpwnam(name.as_ptr()).as_ref().map(|user| (user.pw_uid, user.pw_gid)) }
}

#[expect(unsafe_code, reason = "as for users")]
fn group_by_name(name: &CString) -> Option<u32> {
    // SAFETY: as above.
    unsafe { libc::getgrnam(name.as_ptr()).as_ref().map(|group| group.gr_gid) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn users_and_groups_are_found() {
        let root = Identity::find("root", None).unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        let number = Identity::find("4294967000", Some("root")).unwrap();
        assert_eq!((number.name, number.uid, number.gid), (None, 4_294_967_000, 0));
        for (user, group, expected) in [
            ("no such user", None, "the system knows no user"),
            ("root", Some("no such group"), "the system knows no group"),
            ("4294967000", None, "server.group must say its group"),
        ] {
            let error = format!("{:#}", Identity::find(user, group).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_folder_of_somebody_else_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let stranger = Identity { name: None, uid: fs::metadata(folder.path()).unwrap().uid() + 1, gid: 1 };
        let error = stranger.take_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("belongs to user") && error.contains("chown -R"), "{error}");
    }

    #[test]
    fn what_is_left_is_seen() {
        let status = |set: &str| format!("Name:\tx\nCapInh:\t0000000000000001\nCapPrm:\t{set}\nCapEff:\t0000000000000000\nCapBnd:\tffff\n");
        assert!(!has_capabilities(&status("0000000000000000")));
        assert!(has_capabilities(&status("0000000000000400")));
    }
}
