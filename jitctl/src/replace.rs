//! Files that are replaced whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Puts `bytes` in the place of what is at `path`, with exactly that mode whatever the umask is. Folders on the way that are missing are
/// made with `folder_mode`.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32, folder_mode: u32) -> io::Result<()> {
    let unnamed = || io::Error::other("it is in no folder");
    let folder = path.parent().ok_or_else(unnamed)?;
    let name = path.file_name().ok_or_else(unnamed)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(folder_mode)
        .create(folder)?;
    let temporary = folder.join(format!(".{}.new", name.display()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}
