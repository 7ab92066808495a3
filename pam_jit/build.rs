//! How pam_jit.so is linked: so that every sshd and sudo loads and unloads it as quickly as a small module in C.
//!
//! Loading libgcc_s.so.1 anew is most of what a Rust module costs there, so the unwinder is linked in. The Rust standard
//! library asks the linker for `-lgcc_s`; we put a linker script of that name in front, which means libgcc_eh.a, the
//! same unwinder as an archive.
//!
//! Most of the rest is mapping it and unmapping it, piece by piece. GNU ld makes two pieces of it where lld makes four:
//! what is run or only read, and what is written while loading, of which RELRO protects its part afterwards.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("unwinder");
    write_stand_in(&folder)?;
    // For every target of this package: only so does it reach the example module that the tests load.
    println!("cargo::rustc-link-arg=-L{}", folder.display());
    for argument in ["-fuse-ld=bfd", "-Wl,-z,noseparate-code"] {
        println!("cargo::rustc-link-arg={argument}");
    }
    Ok(())
}

fn write_stand_in(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")
}
