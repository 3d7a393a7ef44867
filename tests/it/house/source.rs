//! One source file, and what can be asked of it.
//!
//! Invariant: code under `#[cfg(test)]` exposes and opens what it likes; imports count there too.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// The package's folder.
pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A parsed file.
pub(super) struct Source {
    /// Its path below the package's folder.
    pub(super) name: String,
    text: String,
    file: syn::File,
}

/// Every Rust file below a folder; none if there is no such folder.
pub(super) fn sources(folder: &str) -> Vec<Source> {
    let mut files = files(&root().join(folder));
    files.retain(|path| path.extension().is_some_and(|ending| ending == "rs"));
    files
        .iter()
        .map(|path| Source::parse(&named(path), &fs::read_to_string(path).unwrap()))
        .collect()
}

/// Name and text of every text file below some folders.
pub(super) fn text_files(folders: &[&str]) -> Vec<(String, String)> {
    let files = folders
        .iter()
        .flat_map(|folder| files(&root().join(folder)));
    // Vendored code and pictures are not ours to read.
    let ours = files.filter(|path| !path.components().any(|part| part.as_os_str() == "vendor"));
    ours.filter_map(|path| Some((named(&path), fs::read_to_string(&path).ok()?)))
        .collect()
}

fn named(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

impl Source {
    pub(super) fn parse(name: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            file,
        }
    }

    /// The room: the first folder below `src`, or the file there.
    pub(super) fn room(&self) -> &str {
        let inside = self.name.strip_prefix("src/").unwrap_or(&self.name);
        inside
            .split('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs")
    }

    /// Whether all of it is test code: `tests.rs` beside the code, or a folder `tests`.
    pub(super) fn is_test(&self) -> bool {
        self.name
            .split('/')
            .any(|part| part == "tests" || part == "tests.rs")
    }

    /// The text of the module's head.
    pub(super) fn head(&self) -> String {
        let lines = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("//!"));
        lines.map(str::trim).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn lines_without_tests(&self) -> usize {
        self.text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .count()
    }

    /// Rooms that it names, each with its line.
    pub(super) fn imports(&self) -> Vec<(String, usize)> {
        let inside = self.name.strip_prefix("src/").unwrap_or(&self.name);
        let parts: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
        let depth = parts
            .iter()
            .filter(|part| !["mod", "lib", "main"].contains(part))
            .count();
        let mut imports = Imports {
            depth,
            found: Vec::new(),
        };
        imports.visit_file(&self.file);
        imports.found
    }

    /// Lines that read a secret's characters.
    pub(super) fn exposures(&self) -> Vec<usize> {
        let mut doors = Doors::default();
        doors.visit_file(&self.file);
        doors.exposures
    }

    /// Lines that open a sealed value: `Vault::open`, or `.open(…)` of something called vault.
    pub(super) fn openings(&self) -> Vec<usize> {
        let mut doors = Doors::default();
        doors.visit_file(&self.file);
        doors.openings
    }

    /// Lines outside tests that hold an identifier.
    pub(super) fn mentions(&self, name: &str) -> Vec<usize> {
        let code = self
            .text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"));
        let words = |line: &str| {
            let code = line.split("//").next().unwrap_or_default();
            code.split(|c: char| c != '_' && !c.is_alphanumeric())
                .any(|word| word == name)
        };
        code.enumerate()
            .filter(|(_, line)| words(line))
            .map(|(at, _)| at + 1)
            .collect()
    }

    /// Whether a method or function of this name is called; a variable of that name is none.
    pub(super) fn calls(&self, method: &str) -> bool {
        [".", "::"]
            .iter()
            .any(|before| self.text.contains(&format!("{before}{method}(")))
    }

    /// Type and name of every public async method.
    pub(super) fn public_async_methods(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for item in &self.file.items {
            let syn::Item::Impl(block) = item else {
                continue;
            };
            let syn::Type::Path(owner) = &*block.self_ty else {
                continue;
            };
            let Some(owner) = owner.path.segments.last() else {
                continue;
            };
            for item in &block.items {
                let syn::ImplItem::Fn(method) = item else {
                    continue;
                };
                let public = matches!(method.vis, syn::Visibility::Public(_));
                if public && method.sig.asyncness.is_some() {
                    found.push((owner.ident.to_string(), method.sig.ident.to_string()));
                }
            }
        }
        found
    }

    /// Names of modules, types and traits.
    pub(super) fn item_names(&self) -> Vec<String> {
        let names = self.file.items.iter().filter_map(|item| match item {
            syn::Item::Mod(item) => Some(&item.ident),
            syn::Item::Struct(item) => Some(&item.ident),
            syn::Item::Enum(item) => Some(&item.ident),
            syn::Item::Trait(item) => Some(&item.ident),
            syn::Item::Type(item) => Some(&item.ident),
            _ => None,
        });
        names.map(ToString::to_string).collect()
    }
}

/// Collects the rooms that paths lead to.
struct Imports {
    /// Modules between here and the crate's root.
    depth: usize,
    found: Vec<(String, usize)>,
}

impl Imports {
    /// Follows a path's beginning to a room, if it leaves this one by name.
    fn follow(&mut self, path: &[(String, Span)]) {
        let ups = path.iter().take_while(|(name, _)| name == "super").count();
        let room = match path.first().map(|(name, _)| name.as_str()) {
            Some("crate" | "keywheel") => path.get(1),
            Some("super") if ups >= self.depth => path.get(ups),
            Some("keywheel_connectors") => {
                self.found
                    .push(("connectors".to_owned(), path[0].1.start().line));
                None
            }
            _ => None,
        };
        let room = room.filter(|(name, _)| name.starts_with(char::is_lowercase));
        self.found
            .extend(room.map(|(name, span)| (name.clone(), span.start().line)));
    }

    fn walk(&mut self, tree: &syn::UseTree, before: &mut Vec<(String, Span)>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push((path.ident.to_string(), path.ident.span()));
                self.walk(&path.tree, before);
                before.pop();
            }
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push((ident.to_string(), ident.span()));
                self.follow(before);
                before.pop();
            }
            syn::UseTree::Glob(_) => self.follow(before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.walk(tree, before);
                }
            }
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<(String, Span)> = Vec::new();
        let mut joined = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if !joined {
                        self.follow(&path);
                        path.clear();
                    }
                    path.push((ident.to_string(), ident.span()));
                    joined = false;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => joined = true,
                TokenTree::Group(group) => {
                    self.follow(&path);
                    path.clear();
                    self.tokens(group.stream());
                }
                _ => {
                    self.follow(&path);
                    path.clear();
                    joined = false;
                }
            }
        }
        self.follow(&path);
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.walk(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts = path.segments.iter();
        let path_here: Vec<_> = parts
            .map(|p| (p.ident.to_string(), p.ident.span()))
            .collect();
        self.follow(&path_here);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

/// Collects the places where secrets come into the open.
#[derive(Default)]
struct Doors {
    exposures: Vec<usize>,
    openings: Vec<usize>,
}

impl Doors {
    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => self.ident(&ident),
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    fn ident(&mut self, ident: &proc_macro2::Ident) {
        if ident.to_string().starts_with("expose_secret") {
            self.exposures.push(ident.span().start().line);
        }
    }
}

impl<'ast> Visit<'ast> for Doors {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !item.attrs.iter().any(is_for_tests) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
        self.ident(ident);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        if let [.., owner, method] = &names[..]
            && owner == "Vault"
            && method == "open"
        {
            self.openings.extend(
                path.segments
                    .last()
                    .map(|one| one.ident.span().start().line),
            );
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "open" && called(&call.receiver).to_lowercase().contains("vault") {
            self.openings.push(call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

fn is_for_tests(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else {
        return false;
    };
    list.path.is_ident("cfg") && list.tokens.to_string() == "test"
}

/// What a receiver is called: its last name.
fn called(receiver: &syn::Expr) -> String {
    match receiver {
        syn::Expr::Path(path) => path
            .path
            .segments
            .last()
            .map(|last| last.ident.to_string())
            .unwrap_or_default(),
        syn::Expr::Field(field) => match &field.member {
            syn::Member::Named(name) => name.to_string(),
            syn::Member::Unnamed(_) => called(&field.base),
        },
        syn::Expr::MethodCall(call) => format!("{}.{}", called(&call.receiver), call.method),
        syn::Expr::Call(call) => called(&call.func),
        syn::Expr::Reference(inner) => called(&inner.expr),
        syn::Expr::Unary(inner) => called(&inner.expr),
        syn::Expr::Paren(inner) => called(&inner.expr),
        syn::Expr::Await(inner) => called(&inner.base),
        syn::Expr::Try(inner) => called(&inner.expr),
        syn::Expr::Index(inner) => called(&inner.expr),
        _ => String::new(),
    }
}
