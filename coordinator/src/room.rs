//! Whether what is to be fetched fits on the disk, before any of it comes: a full disk is found out in the last gigabyte otherwise.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is to be fetched has no place.
#[derive(Debug, thiserror::Error)]
pub enum NoRoom {
    /// A disk is too small.
    #[error(transparent)]
    Full(#[from] Full),
    /// There is no folder.
    #[error("{folder}: found no folder there, and it cannot be made; name another place with {elsewhere}")]
    Unmade {
        /// Where it would go.
        folder: String,
        /// How to choose another folder.
        elsewhere: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A disk is too small.
#[derive(Debug, thiserror::Error)]
#[error(
    "{folder}: found {free} bytes free on its disk, expected at least {needed}: that is what is still to be fetched; free some, or \
     name another place with {elsewhere}"
)]
pub struct Full {
    /// Where it would go.
    pub folder: String,
    /// Bytes that are to come.
    pub needed: u64,
    /// Bytes that are free.
    pub free: u64,
    /// How to choose another folder.
    pub elsewhere: &'static str,
}

/// What goes where.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// The folder; it is made where it is absent.
    pub folder: &'a Path,
    /// Bytes that are to come into it.
    pub bytes: u64,
    /// How another folder is chosen.
    pub elsewhere: &'static str,
}

/// Refuses what does not fit; what goes to one disk is taken together. A disk that cannot be asked is not in the way: writing tells.
pub fn check(loads: &[Load<'_>]) -> Result<(), NoRoom> {
    let mut disks: BTreeMap<u64, (Load<'_>, u64)> = BTreeMap::new();
    for load in loads.iter().filter(|load| load.bytes > 0) {
        let (folder, elsewhere) = (load.folder.display().to_string(), load.elsewhere);
        std::fs::create_dir_all(load.folder).map_err(|source| NoRoom::Unmade {
            folder,
            elsewhere,
            source,
        })?;
        let Ok(meta) = std::fs::metadata(load.folder) else { continue };
        let disk = disks.entry(meta.dev()).or_insert((*load, 0));
        disk.1 = disk.1.saturating_add(load.bytes);
    }
    for (load, needed) in disks.into_values() {
        let Ok(free) = free(load.folder) else { continue };
        if free < needed {
            let (folder, elsewhere) = (load.folder.display().to_string(), load.elsewhere);
            return Err(Full { folder, needed, free, elsewhere }.into());
        }
    }
    Ok(())
}

/// Bytes that this user may still write on a folder's disk.
fn free(folder: &Path) -> io::Result<u64> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: the type is plain numbers, for which zeros are a value.
    let mut stat: libc::statvfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a NUL and the kernel writes into a value of its type; both live until it returns.
    match unsafe { libc::statvfs64(path.as_ptr(), &raw mut stat) } {
        0 => Ok(stat.f_bavail.saturating_mul(stat.f_frsize)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_folder_and_bytes_and_what_goes_to_one_disk_counts_together() {
        let folder = tempfile::tempdir().unwrap();
        let free = free(folder.path()).unwrap();
        assert!(free > 0);
        let absent = folder.path().join("a/b");
        let load = |folder, bytes| Load { folder, bytes, elsewhere: "HF_HOME" };
        check(&[load(&absent, 1), load(folder.path(), 0)]).unwrap();
        // Twice three quarters of what is free: each fits, both do not. Nobody here frees that much meanwhile.
        let most = free / 4 * 3;
        check(&[load(&absent, most)]).unwrap();
        let error = check(&[load(&absent, most), load(folder.path(), most)]).unwrap_err();
        let NoRoom::Full(error) = error else { panic!("{error}") };
        assert_eq!((error.needed, error.folder.as_str()), (most * 2, absent.to_str().unwrap()));
        let said = error.to_string();
        assert!(said.contains(&(most * 2).to_string()) && said.contains("HF_HOME"), "{said}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_as_that() {
        let folder = Path::new("/proc/none/hub");
        let error = check(&[Load { folder, bytes: 1, elsewhere: "HF_HOME" }]).unwrap_err().to_string();
        let expected =
            "/proc/none/hub: found no folder there, and it cannot be made; name another place with HF_HOME";
        assert_eq!(error, expected);
    }
}
