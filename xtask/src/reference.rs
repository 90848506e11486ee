//! The reference of the plugin contract, made of the WIT: `docs/plugins/reference.md`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use wit_parser::{Docs, Function, FunctionKind, Handle, Interface, Resolve, Type, TypeDef, TypeDefKind, TypeId};

/// What stands before everything.
const HEAD: &str = "\
# The reference: the contract between host and plugins

Made from the WIT by `cargo xtask reference`; edit `wit/` and run it again. The names are those of the contract: a language writes them in its own way, such
as `set-header` as `set_header` in Rust and `setHeader` in JavaScript.
";

/// Returns the page for the contract in a folder.
pub(crate) fn page(folder: &Path) -> Result<String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(folder).with_context(|| format!("the contract in {}", folder.display()))?;
    let package = resolve.packages.get(package).context("the contract is a package")?;
    let mut page = Page { resolve: &resolve, text: format!("{HEAD}\nPackage `{}`.\n", package.name) };
    page.docs(&package.docs, "");
    page.text.push_str("\n| interface | what |\n|---|---|\n");
    let interfaces = || package.interfaces.values().filter_map(|id| resolve.interfaces.get(*id));
    for interface in interfaces() {
        let name = interface.name.as_deref().unwrap_or_default();
        let first = interface.docs.contents.as_deref().unwrap_or_default().split("\n\n").next().unwrap_or_default().replace('\n', " ");
        page.line(&format!("| [`{name}`](#{name}) | {} |", first.trim()));
    }
    for interface in interfaces() {
        page.interface(interface);
    }
    page.text.push_str("\n## worlds\n\nWhat a component imports and exports together.\n\n");
    for (name, world) in &package.worlds {
        let docs = resolve.worlds.get(*world).and_then(|world| world.docs.contents.clone()).unwrap_or_default();
        page.line(&format!("- `{name}`: {}", docs.trim().replace('\n', " ")));
    }
    Ok(page.text)
}

struct Page<'a> {
    resolve: &'a Resolve,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Writes docs as a paragraph, each line behind `indent`.
    fn docs(&mut self, docs: &Docs, indent: &str) {
        let Some(contents) = docs.contents.as_deref() else { return };
        self.text.push('\n');
        for line in contents.trim().lines() {
            self.line(format!("{indent}{}", line.trim()).trim_end());
        }
    }

    fn interface(&mut self, interface: &Interface) {
        let name = interface.name.as_deref().unwrap_or_default();
        self.line(&format!("\n## {name}"));
        self.docs(&interface.docs, "");
        for id in interface.types.values() {
            if let Some(definition) = self.resolve.types.get(*id) {
                self.definition(definition);
            }
        }
        let of_resource = |function: &&Function| function.name.contains(']');
        let (methods, functions): (Vec<_>, Vec<_>) = interface.functions.values().partition(of_resource);
        for function in methods.into_iter().chain(functions) {
            self.function(function);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "of the kinds that a contract may have, ours has few")]
    fn definition(&mut self, definition: &TypeDef) {
        let name = definition.name.as_deref().unwrap_or_default();
        if let TypeDefKind::Type(Type::Id(other)) = definition.kind {
            let owner = self.interface_of(other);
            self.line(&format!("\n`{name}` is that of {owner}."));
            return;
        }
        self.line(&format!("\n### {} `{name}`", definition.kind.as_str()));
        self.docs(&definition.docs, "");
        let rows: Vec<(String, Option<Type>, &Docs)> = match &definition.kind {
            TypeDefKind::Record(record) => record.fields.iter().map(|field| (field.name.clone(), Some(field.ty), &field.docs)).collect(),
            TypeDefKind::Variant(variant) => variant.cases.iter().map(|case| (case.name.clone(), case.ty, &case.docs)).collect(),
            TypeDefKind::Enum(choices) => choices.cases.iter().map(|case| (case.name.clone(), None, &case.docs)).collect(),
            TypeDefKind::List(item) => {
                let item = self.name(item);
                self.line(&format!("\n`list<{item}>`"));
                Vec::new()
            }
            _ => Vec::new(),
        };
        if !rows.is_empty() {
            self.text.push('\n');
        }
        for (name, kind, docs) in rows {
            let kind = match (&definition.kind, kind) {
                (_, None) => String::new(),
                (TypeDefKind::Variant(_), Some(kind)) => format!("({})", self.name(&kind)),
                (_, Some(kind)) => format!(": {}", self.name(&kind)),
            };
            let docs = docs.contents.as_deref().map(|docs| format!(" — {}", docs.trim().replace('\n', " "))).unwrap_or_default();
            self.line(&format!("- `{name}{kind}`{docs}"));
        }
    }

    fn function(&mut self, function: &Function) {
        let is_method = matches!(function.kind, FunctionKind::Method(_));
        let parameters = function.params.iter().skip(usize::from(is_method));
        let parameters: Vec<_> = parameters.map(|parameter| format!("{}: {}", parameter.name, self.name(&parameter.ty))).collect();
        let result = function.result.map(|result| format!(" -> {}", self.name(&result))).unwrap_or_default();
        let name = function.item_name().to_owned();
        let _ = write!(self.text, "\n#### `{name}`\n\n```wit\n{name}: func({}){result}\n```\n", parameters.join(", "));
        self.docs(&function.docs, "");
    }

    /// The interface that a type is defined in, as a link.
    fn interface_of(&self, id: TypeId) -> String {
        let owner = self.resolve.types.get(id).map(|definition| definition.owner);
        let interface = match owner {
            Some(wit_parser::TypeOwner::Interface(interface)) => self.resolve.interfaces.get(interface),
            Some(wit_parser::TypeOwner::World(_) | wit_parser::TypeOwner::None) | None => None,
        };
        let name = interface.and_then(|interface| interface.name.as_deref()).unwrap_or_default();
        format!("[`{name}`](#{name})")
    }

    /// A type as the contract writes it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "of the kinds that a contract may have, ours has few")]
    fn name(&self, kind: &Type) -> String {
        let Type::Id(id) = kind else { return primitive(kind).to_owned() };
        let Some(definition) = self.resolve.types.get(*id) else { return String::new() };
        if let Some(name) = &definition.name {
            return name.clone();
        }
        let or_none = |kind: Option<Type>| kind.map_or_else(|| "_".to_owned(), |kind| self.name(&kind));
        match &definition.kind {
            TypeDefKind::Option(inner) => format!("option<{}>", self.name(inner)),
            TypeDefKind::List(inner) => format!("list<{}>", self.name(inner)),
            TypeDefKind::Tuple(tuple) => {
                format!("tuple<{}>", tuple.types.iter().map(|kind| self.name(kind)).collect::<Vec<_>>().join(", "))
            }
            TypeDefKind::Result(result) => match (result.ok, result.err) {
                (None, None) => "result".to_owned(),
                (ok, None) => format!("result<{}>", or_none(ok)),
                (ok, error) => format!("result<{}, {}>", or_none(ok), or_none(error)),
            },
            TypeDefKind::Handle(Handle::Own(resource)) => self.name(&Type::Id(*resource)),
            TypeDefKind::Handle(Handle::Borrow(resource)) => format!("borrow<{}>", self.name(&Type::Id(*resource))),
            other => other.as_str().to_owned(),
        }
    }
}

fn primitive(kind: &Type) -> &'static str {
    match kind {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
        Type::Id(_) => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn the_page_is_that_of_the_contract() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let there = std::fs::read_to_string(root.join("docs/plugins/reference.md")).unwrap_or_default();
        assert!(
            there == page(&root.join("wit/0.1.0")).unwrap(),
            "docs/plugins/reference.md is not of this wit/: run `cargo xtask reference`"
        );
    }

    #[test]
    fn every_function_is_explained() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let page = page(&root.join("wit/0.1.0")).unwrap();
        for wanted in ["## rcpt", "set-header: func(name: string, value: string) -> result<_, edit-error>", "- `reject(reply)` — Refuses"]
        {
            assert!(page.contains(wanted), "{wanted}");
        }
    }
}
