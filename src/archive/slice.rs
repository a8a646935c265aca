//! Parts of a checkpoint, read again and again: for what cannot hold a whole tensor of all checkpoints.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::checkpoint::CheckpointRef;
use super::float::{float_bytes, widen};
use super::header::Dtype;
use super::read::{Source, Stamp, header, stamp_of};
use crate::error::{Error, Fault, Result};

/// Where tensors of a checkpoint lie in its file, or files. Holds no data and no open file.
#[derive(Debug, Clone)]
pub struct Slices {
    /// With what tells a file from another in its place
    files: Vec<(PathBuf, Stamp)>,
    places: Vec<Place>,
}

/// Where one tensor lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Its place in the list of files
    file: usize,
    dtype: Dtype,
    /// Bytes from the beginning of the file
    begin: u64,
    elements: usize,
}

impl Slices {
    /// Find these tensors in a checkpoint, and require their shapes. Its digest is not checked.
    ///
    /// # Errors
    /// As [`CheckpointRef::header`]; [`Error::MissingTensor`], [`Error::Shape`];
    /// [`Fault::UnsupportedDtype`] for a tensor that holds no floating-point numbers.
    pub fn open<'a>(
        checkpoint: &CheckpointRef,
        tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Self> {
        let path = checkpoint.path.clone();
        let (mut files, mut headers) = (Vec::new(), Vec::new());
        for file in checkpoint.files()? {
            files.push((file.clone(), stamp_of(&file)?));
            headers.push(header(&file)?);
        }
        let mut places = Vec::new();
        for (name, shape) in tensors {
            let missing = || Error::MissingTensor { path: path.clone(), tensor: name.to_owned() };
            let found = headers.iter().enumerate().find_map(|(file, header)| {
                header.tensor(name).map(|info| (file, header.data_start, info))
            });
            let (file, data_start, info) = found.ok_or_else(missing)?;
            if info.shape != shape {
                let (expected, found) = (shape.to_owned(), info.shape.clone());
                return Err(Error::Shape { path, tensor: name.to_owned(), expected, found });
            }
            let unsupported = || Error::Checkpoint {
                path: path.clone(),
                fault: Fault::UnsupportedDtype {
                    tensor: crate::error::Name(name.to_owned()),
                    dtype: info.dtype.to_string(),
                },
            };
            let size = float_bytes(info.dtype).ok_or_else(unsupported)?;
            places.push(Place {
                file,
                dtype: info.dtype,
                begin: data_start + info.begin,
                elements: (info.end - info.begin) as usize / size,
            });
        }
        Ok(Self { files, places })
    }

    /// Append a range of the elements of all tensors, one tensor after the other, to `values`.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Fault::Changed`] if the file is not the one that was opened.
    ///
    /// # Panics
    /// If there are not that many elements.
    pub fn read(&self, range: Range<usize>, values: &mut Vec<f64>) -> Result<()> {
        let mut sources = Vec::new();
        for (path, stamp) in &self.files {
            let source = Source::open(path)?;
            if source.stamp != *stamp {
                return Err(changed(path));
            }
            sources.push(source);
        }
        let expected = values.len() + range.len();
        let mut bytes = Vec::new();
        let mut first = 0; // of the tensor, among all elements
        for place in &self.places {
            let here = range.start.max(first)..range.end.min(first + place.elements);
            if !here.is_empty() {
                let size = float_bytes(place.dtype).unwrap_or(1);
                bytes.resize(here.len() * size, 0);
                let begin = place.begin + ((here.start - first) * size) as u64;
                sources[place.file].read_at(&mut bytes, begin)?;
                widen(place.dtype, &bytes, values);
            }
            first += place.elements;
        }
        assert_eq!(values.len(), expected, "a range of the elements");
        for (source, (path, _)) in sources.iter().zip(&self.files) {
            if !source.is_unchanged()? {
                return Err(changed(path));
            }
        }
        Ok(())
    }
}

fn changed(path: &Path) -> Error {
    Error::Checkpoint { path: path.to_owned(), fault: Fault::Changed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Run, sample};

    #[test]
    fn ranges_are_parts_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        sample::run(&run, &sample::info());
        let run = Run::open(&run).unwrap();
        let checkpoint = &run.checkpoints[2]; // step 2: [2, −2, 0.5] and [1.25]
        let both: [(&str, &[usize]); 2] = [("unembed.W_U", &[1]), ("embed.W_E", &[3, 1])];
        let slices = Slices::open(checkpoint, both).unwrap();
        let whole = [1.25, 2.0, -2.0, 0.5];
        for start in 0..=4 {
            for end in start..=4 {
                let mut found = vec![9.0];
                slices.read(start..end, &mut found).unwrap();
                assert_eq!(found[1..], whole[start..end]);
            }
        }
        let error = |name, shape: &[usize]| Slices::open(checkpoint, [(name, shape)]).unwrap_err();
        assert!(matches!(error("W_E", &[3, 1]), Error::MissingTensor { .. }));
        assert!(matches!(error("embed.W_E", &[1, 3]), Error::Shape { .. }));

        // A file put in the place of the one that was opened, of the same length.
        let bytes = std::fs::read(&checkpoint.path).unwrap();
        std::fs::remove_file(&checkpoint.path).unwrap();
        std::fs::write(&checkpoint.path, bytes).unwrap();
        let changed = slices.read(0..1, &mut Vec::new()).unwrap_err();
        assert!(matches!(changed, Error::Checkpoint { fault: Fault::Changed, .. }), "{changed}");
    }
}
