//! Builds the plugins of `plugins/examples`: the same one in four languages, each from the packages of its language's registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::debian;
use crate::run::{command_with, say, succeeds};
use crate::toolchain::Toolchain;

/// What compiles C, in Debian.
const CLANG: [&str; 4] = ["clang", "lld", "wasi-libc", "libclang-rt-14-dev-wasm32"];

/// Folders and programs.
pub(crate) struct Workshop<'a> {
    /// The repository.
    pub(crate) root: &'a Path,
    /// What cargo builds into.
    pub(crate) target: &'a Path,
    /// The program `tubepost`.
    pub(crate) tubepost: &'a Path,
}

impl Workshop<'_> {
    /// Builds what is not up to date into `examples` of the target folder, as `LANGUAGE.wasm`. What a language needs is installed where that is
    /// possible; a language that is not here and cannot be installed is left out, and said.
    ///
    /// Returns that folder.
    ///
    /// # Errors
    /// If an installation or a build fails half way.
    pub(crate) fn examples(&self) -> Result<PathBuf> {
        let folder = self.target.join("examples");
        fs::create_dir_all(&folder)?;
        for language in [Language::Rust, Language::TypeScript, Language::Python, Language::C] {
            let name = language.name();
            let component = folder.join(format!("{name}.wasm"));
            if self.is_up_to_date(language, &component)? {
                continue;
            }
            if !language.can_be_built()? {
                say(&format!("the example in {name} is left out: what builds it is not here and cannot be installed"));
                // What was made of an older source would be tested as if it were this one.
                drop(fs::remove_file(&component));
                continue;
            }
            self.build(language, &component)?;
        }
        Ok(folder)
    }

    /// Whether the component is newer than all that it is made of.
    fn is_up_to_date(&self, language: Language, component: &Path) -> Result<bool> {
        let Ok(built) = fs::metadata(component).and_then(|data| data.modified()) else { return Ok(false) };
        let mut sources = vec![self.source(language), self.root.join("wit")];
        if let Language::Rust = language {
            sources.push(self.root.join("plugin-sdk"));
        }
        let newest = sources.iter().map(|source| newest(source)).collect::<Result<Vec<_>>>()?.into_iter().max();
        Ok(newest.is_some_and(|newest| newest < built))
    }

    fn source(&self, language: Language) -> PathBuf {
        self.root.join("plugins/examples").join(language.name())
    }

    fn build(&self, language: Language, component: &Path) -> Result<()> {
        let source = self.source(language);
        if let Language::Rust = language {
            // What its build.sh does, in the folder that has a standard library for the target already.
            let (workspace, target) = (self.root.join("plugins"), self.target.join("plugins"));
            let status = Toolchain::find()?.build(&workspace, &target).args(["--locked", "--lib", "--package", "campaign"]).status()?;
            anyhow::ensure!(status.success(), "the example in Rust does not build: {status}");
            let module = Toolchain::artifact(&target, "campaign").to_string_lossy().into_owned();
            let arguments = ["plugin", "componentize", &module, "--output", &component.to_string_lossy()];
            return command_with(self.tubepost, self.root, &arguments, &[]);
        }
        command_with(&source.join("build.sh"), &source, &[], &[("TUBEPOST", &self.tubepost.to_string_lossy())])?;
        let built = source.join("campaign.wasm");
        fs::rename(&built, component).or_else(|_| fs::copy(&built, component).map(drop)).with_context(|| built.display().to_string())
    }
}

#[derive(Clone, Copy)]
enum Language {
    Rust,
    TypeScript,
    Python,
    C,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::TypeScript => "typescript",
            Self::Python => "python",
            Self::C => "c",
        }
    }

    /// Whether its tools are here, after they were installed where that was needed and possible.
    fn can_be_built(self) -> Result<bool> {
        match self {
            // The host could not have been built without.
            Self::Rust => Ok(true),
            Self::TypeScript => Ok(debian::has_or_installs("npm", &["--version"], &["nodejs", "npm"])?
                && succeeds("npm", &["view", "componentize-qjs", "version"])),
            Self::Python => {
                let venv = ["-c", "import ensurepip, venv"];
                Ok(debian::has_or_installs("python3", &venv, &["python3", "python3-venv"])?
                    && succeeds("python3", &["-m", "pip", "--disable-pip-version-check", "index", "versions", "componentize-py"]))
            }
            Self::C => debian::has_or_installs(
                "clang",
                &["--target=wasm32-wasi", "-mexec-model=reactor", "-x", "c", "/dev/null", "-o", "/dev/null"],
                &CLANG,
            ),
        }
    }
}

/// When the newest file in a folder was changed. What builds leave there does not count.
fn newest(folder: &Path) -> Result<SystemTime> {
    const BUILT: [&str; 6] = ["node_modules", "build", "target", ".venv", "__pycache__", "campaign.wasm"];
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if BUILT.iter().any(|built| entry.file_name() == *built) {
            continue;
        }
        let changed = if entry.file_type()?.is_dir() { self::newest(&entry.path())? } else { entry.metadata()?.modified()? };
        newest = newest.max(changed);
    }
    Ok(newest)
}
