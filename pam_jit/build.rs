//! Links the unwinder into pam_jit.so instead of loading libgcc_s.so with it.
//!
//! Loading libgcc_s.so.1 anew in every sshd and sudo is most of what a Rust module costs there. The Rust standard
//! library asks the linker for `-lgcc_s`; we put a linker script of that name in front, which means libgcc_eh.a, the
//! same unwinder as an archive.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("unwinder");
    write_stand_in(&folder)?;
    // For every target of this package: only so does it reach the example module that the tests load.
    println!("cargo::rustc-link-arg=-L{}", folder.display());
    Ok(())
}

fn write_stand_in(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")
}
