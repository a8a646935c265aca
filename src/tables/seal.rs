//! A checksum inside the Parquet file.
//!
//! polars writes no page checksums and reads damaged pages without suspicion: one flipped bit can
//! return other values, panic, or ask for more memory than there is, which ends the process. So
//! no byte reaches it unchecked. The seal is the BLAKE3 of all other bytes of the file, 32 bytes
//! between the last page and the footer: Parquet finds pages by their offset from the start and
//! the footer by its distance from the end, so other readers pass over it.
//!
//! ```text
//! PAR1 | pages … | seal (32) | footer | length of the footer (4, little-endian) | PAR1
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// First and last bytes of a Parquet file.
const MAGIC: &[u8; 4] = b"PAR1";

/// Bytes behind the footer: its length, and the magic.
const TAIL: usize = 8;

/// Sets the seal into a Parquet file.
///
/// Returns `None` if the bytes are no whole Parquet file.
pub(super) fn seal(mut file: Vec<u8>) -> Option<Vec<u8>> {
    let footer = footer(&file)?;
    let digest = blake3::hash(&file);
    file.splice(footer..footer, *digest.as_bytes());
    Some(file)
}

/// Sets the seal into a file that was just written, which is read once more for it. Returns the
/// length and the BLAKE3 of the sealed file.
///
/// # Errors
/// If the file cannot be read or written, or is no whole Parquet file.
pub(super) fn seal_file(file: &mut File) -> io::Result<(u64, String)> {
    let length = file.seek(SeekFrom::End(0))?;
    let no_parquet = || io::Error::new(io::ErrorKind::InvalidData, "no whole Parquet file");
    let tail = length.checked_sub(TAIL as u64).ok_or_else(no_parquet)?;
    file.seek(SeekFrom::Start(tail))?;
    let mut footer_length = [0; 4];
    file.read_exact(&mut footer_length)?;
    let footer = tail.checked_sub(u64::from(u32::from_le_bytes(footer_length)));
    let footer = footer.filter(|footer| *footer >= MAGIC.len() as u64).ok_or_else(no_parquet)?;

    file.seek(SeekFrom::Start(0))?;
    let mut pages = blake3::Hasher::new();
    pages.update_reader((&mut *file).take(footer))?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    let seal = pages.clone().update(&rest).finalize();
    file.seek(SeekFrom::Start(footer))?;
    file.write_all(seal.as_bytes())?;
    file.write_all(&rest)?;
    let whole = pages.update(seal.as_bytes()).update(&rest).finalize();
    Ok((length + blake3::OUT_LEN as u64, whole.to_hex().to_string()))
}

/// Checks that the bytes are what [`seal`] returned.
///
/// # Errors
/// What is wrong, for a message that names the file.
pub(super) fn check(file: &[u8]) -> Result<(), String> {
    let Some((footer, start)) = footer(file)
        .and_then(|footer| Some((footer, footer.checked_sub(blake3::OUT_LEN)?)))
        .filter(|(_, start)| *start >= MAGIC.len())
    else {
        return Err(format!("its {} bytes are no whole Parquet file", file.len()));
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&file[..start]).update(&file[footer..]);
    if hasher.finalize().as_bytes()[..] == file[start..footer] {
        Ok(())
    } else {
        Err("checksum mismatch: damaged, or changed by another program".to_owned())
    }
}

/// Where the footer begins, if the bytes have the frame of a Parquet file.
fn footer(file: &[u8]) -> Option<usize> {
    let rest = file.strip_prefix(MAGIC)?.strip_suffix(MAGIC)?;
    let length = u32::from_le_bytes(*rest.last_chunk()?);
    let footer = file.len().checked_sub(TAIL)?.checked_sub(usize::try_from(length).ok()?)?;
    (footer >= MAGIC.len()).then_some(footer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four bytes of pages and two of footer.
    const FILE: &[u8] = b"PAR1pageft\x02\0\0\0PAR1";

    #[test]
    fn the_seal_lies_before_the_footer() {
        let sealed = seal(FILE.to_vec()).unwrap();
        assert_eq!(sealed.len(), FILE.len() + 32);
        assert_eq!((&sealed[..8], &sealed[40..]), (&FILE[..8], &FILE[8..]));
        assert_eq!(sealed[8..40], blake3::hash(FILE).as_bytes()[..]);
        assert_eq!(check(&sealed), Ok(()));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let sealed = seal(FILE.to_vec()).unwrap();
        for at in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            check(&damaged).unwrap_err();
        }
    }

    #[test]
    fn every_other_length_is_seen() {
        let sealed = seal(FILE.to_vec()).unwrap();
        for length in 0..sealed.len() {
            check(&sealed[..length]).unwrap_err();
        }
        check(&[&sealed[..], b"\0"].concat()).unwrap_err();
        check(&[&sealed[..], MAGIC].concat()).unwrap_err();
        check(FILE).unwrap_err();
        assert_eq!(check(b"PAR1"), Err("its 4 bytes are no whole Parquet file".to_owned()));
    }
}
