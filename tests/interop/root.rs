//! A Debian system of its own for one program: an overlay over this one, in namespaces that end with it.
//!
//! Mail servers exclude each other as packages, start services, and own paths that cannot be moved. Here each has all of them for itself: what is
//! installed and written stays in a folder, processes end when the root is dropped, and this machine never notices.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// Where the folder of the scenario is seen inside.
pub(crate) const SCENARIO: &str = "/scenario";

/// A system that runs. Dropping it ends all its processes.
pub(crate) struct Root {
    folder: PathBuf,
    holder: Child,
    /// Whose namespaces they are.
    process: u32,
}

impl Root {
    /// Why there can be none on this machine, if so.
    pub(crate) fn obstacle() -> Option<String> {
        let succeeds = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        if !succeeds("apt-get", &["--version"]) {
            return Some("this is no Debian".to_owned());
        }
        let overlay = fs::read_to_string("/proc/filesystems").unwrap_or_default().contains("overlay") || succeeds("modprobe", &["overlay"]);
        if !overlay {
            return Some("the kernel has no overlay file system".to_owned());
        }
        (!succeeds("unshare", &["--mount", "--pid", "--fork", "true"])).then(|| "namespaces cannot be made: be root".to_owned())
    }

    /// Opens the root `name` below `store`, with `packages` installed in it the first time, and `scenario` seen as [`SCENARIO`].
    pub(crate) fn open(store: &Path, name: &str, packages: &[&str], scenario: &Path) -> Result<Self> {
        let folder = store.join(name);
        let wanted = packages.join(" ");
        if fs::read_to_string(folder.join("installed")).is_ok_and(|installed| installed == wanted) {
            return Self::start(&folder, scenario);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        for part in ["upper", "work", "root"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let root = Self::start(&folder, scenario)?;
        // A service that is installed is started at once, unless this says no.
        root.shell("printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d")?;
        root.shell(&format!(
            "export DEBIAN_FRONTEND=noninteractive; apt-get update --quiet --quiet && apt-get install --yes --quiet --quiet --no-install-recommends {wanted} 2>&1"
        ))?;
        fs::write(folder.join("installed"), wanted)?;
        Ok(root)
    }

    fn start(folder: &Path, scenario: &Path) -> Result<Self> {
        let [upper, work, root] = ["upper", "work", "root"].map(|part| folder.join(part).display().to_string());
        let script = format!(
            "set -e; mount -t overlay overlay -o lowerdir=/,upperdir={upper},workdir={work} {root}; mount -t proc proc {root}/proc; \
             mount --rbind /dev {root}/dev; mkdir -p {root}{SCENARIO}; mount --rbind {} {root}{SCENARIO}; echo ready; exec sleep infinity",
            scenario.display()
        );
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().context("standard output is piped")?).read_line(&mut said)?;
        if said.trim() != "ready" {
            let _ = holder.kill();
            let _ = holder.wait();
            bail!("{}: the overlay cannot be mounted", folder.display());
        }
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id()))?;
        let process = children.split(' ').next().and_then(|id| id.parse().ok()).context("the holder of the namespaces has no process")?;
        Ok(Self { folder: folder.join("root"), holder, process })
    }

    /// A command inside.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.process.to_string(), "--mount", "--pid", "chroot"]).arg(&self.folder);
        command.arg(program).args(arguments).stdin(Stdio::null()).current_dir("/");
        command
    }

    /// Runs a script inside; it must succeed. Returns what it printed.
    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        let output = self.command("sh", &["-c", script]).output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "{script}: {}\n{said}", output.status);
        Ok(said)
    }

    /// Writes a file inside.
    pub(crate) fn write(&self, path: &str, content: &str) -> Result<()> {
        let mut child =
            self.command("sh", &["-c", &format!("mkdir -p \"$(dirname {path})\" && cat > {path}")]).stdin(Stdio::piped()).spawn()?;
        std::io::Write::write_all(&mut child.stdin.take().context("standard input is piped")?, content.as_bytes())?;
        ensure!(child.wait()?.success(), "{path} cannot be written");
        Ok(())
    }

    /// Starts a program that goes on; what it says goes to `log` in the folder of the scenario.
    pub(crate) fn spawn(&self, log: &Path, program: &str, arguments: &[&str]) -> Result<Running> {
        let log = fs::File::options().create(true).append(true).open(log)?;
        let child = self.command(program, arguments).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Running(child))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // The first process of the namespace ends with its parent, and all others with it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A program that goes on until this is dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}
