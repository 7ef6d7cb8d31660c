//! Opens what a crash left, and refuses what a crash cannot have left.
//!
//! A frame is written only after its predecessor was synced. So behind a frame that does not check
//! out nothing valid can stand, unless that frame was acknowledged once. Only in the last segment,
//! and only with nothing valid behind it, is it a write cut short: zeros replace it. A last frame
//! that was acknowledged and rots afterwards looks the same; a second copy of the end would be
//! needed to tell.
//!
//! Rotation leaves one more state: the successor exists, without frames, and the seal is missing.
//! The successor goes, and the next rotation makes it again.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::extent::Extent;
use super::frame::{self, ALIGNMENT, BadHeader, Frame, SegmentHeader};
use super::record::{Record, decode_all};
use super::state::State;
use super::{Current, Options, Sealed, salt, segment};
use crate::identity::Identity;

type Replay<'a> = dyn FnMut(&Record<'_>) -> Result<(), String> + 'a;

/// A log that can be continued.
pub(super) struct Recovered<F> {
    pub(super) current: Current<F>,
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) extent: Extent,
    pub(super) state: State,
}

/// A segment as it was read.
struct Image {
    path: PathBuf,
    header: SegmentHeader,
    bytes: Vec<u8>,
}

/// What a segment's frames say.
struct Scan {
    /// Where the valid frames end.
    end: usize,
    /// The number of the frame that would follow.
    batch: u64,
    /// The last valid frame.
    last_frame: Option<Range<usize>>,
    last_index: Option<u64>,
    sealed: bool,
}

/// A log of one empty segment.
pub(super) fn create<D: Disk>(
    disk: &D,
    owner: Identity,
    options: Options,
) -> Result<Recovered<D::File>, OpenError> {
    let bytes = options.segment_bytes;
    let header = SegmentHeader { bytes, seq: 1, first_batch: 0, owner, salt: salt() };
    let path = disk.path(&segment::name(header.seq));
    let file = segment::prepare_spare(disk, bytes).and_then(|()| segment::create(disk, &header));
    let file = file.map_err(OpenError::io("create", &path))?;
    Ok(Recovered {
        current: Current::new(file, header),
        sealed: VecDeque::new(),
        extent: Extent::default(),
        state: State::default(),
    })
}

/// Reads the log. None if there is none.
pub(super) fn recover<D: Disk>(
    disk: &D,
    owner: Identity,
    replay: &mut Replay<'_>,
) -> Result<Option<Recovered<D::File>>, OpenError> {
    let seqs = list(disk)?;
    let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else { return Ok(None) };
    let extent = if *first == 1 { Extent::default() } else { Extent::cut() };
    let (sealed, state) = (VecDeque::new(), State::default());
    let mut recovery = Recovery { disk, owner, sealed, extent, state, seal: None, replay };
    let mut batch = None;
    let mut seq = *first;
    loop {
        let image = recovery.read(seq)?;
        let scan = recovery.scan(&image, batch)?;
        match (scan.sealed, seq == *last) {
            (true, false) => recovery.seal(image, &scan),
            (true, true) => {
                return Err(OpenError::Missing { path: disk.path(&segment::name(seq + 1)) });
            }
            (false, is_last) => {
                let successor = (!is_last).then_some(seq + 1);
                if let Some(successor) = successor {
                    recovery.check_successor(&image, &scan, successor, *last)?;
                }
                return recovery.finish(&image, &scan, successor).map(Some);
            }
        }
        batch = Some(scan.batch);
        seq += 1;
    }
}

/// The numbers of all segments, in order.
fn list<D: Disk>(disk: &D) -> Result<Vec<u64>, OpenError> {
    let names = disk.list().map_err(OpenError::io("list", &disk.path("")))?;
    let mut seqs: Vec<u64> = names.iter().filter_map(|name| segment::seq(name)).collect();
    seqs.sort_unstable();
    Ok(seqs)
}

struct Recovery<'a, D> {
    disk: &'a D,
    owner: Identity,
    sealed: VecDeque<Sealed>,
    extent: Extent,
    state: State,
    /// The last seal: its segment, where it stands, its bytes.
    seal: Option<(u64, u64, Vec<u8>)>,
    replay: &'a mut Replay<'a>,
}

impl<D: Disk> Recovery<'_, D> {
    /// Reads a segment and checks that it is one, of this node, and whole.
    fn read(&self, seq: u64) -> Result<Image, OpenError> {
        let name = segment::name(seq);
        let path = self.disk.path(&name);
        let bytes = match self.disk.read(&name) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Missing { path });
            }
            Err(e) => return Err(OpenError::io("read", &path)(e)),
        };
        let damaged =
            |why: &str| OpenError::Damaged { path: path.clone(), offset: 0, why: why.into() };
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) => header,
            Err(BadHeader::Damaged) => return Err(damaged("the segment's header is broken")),
            Err(BadHeader::Format(found)) => return Err(OpenError::Format { path, found }),
        };
        if header.owner != self.owner {
            return Err(OpenError::Foreign { path, found: header.owner, expected: self.owner });
        }
        if header.seq != seq {
            return Err(damaged(&format!("it holds segment {}", header.seq)));
        }
        if header.bytes as usize != bytes.len() {
            let why = format!("it is {} bytes long, not {}", bytes.len(), header.bytes);
            return Err(damaged(&why));
        }
        Ok(Image { path, header, bytes })
    }

    /// Replays the frames of a segment up to its seal or the first that does not check out.
    fn scan(&mut self, image: &Image, batch: Option<u64>) -> Result<Scan, OpenError> {
        let first = image.header.first_batch;
        if let Some(expected) = batch.filter(|batch| *batch != first) {
            let why = format!("it starts at frame {first}, but frame {expected} must follow");
            return Err(image.damaged(0, why));
        }
        let mut scan = Scan {
            end: segment::FIRST_FRAME_AT,
            batch: first,
            last_frame: None,
            last_index: None,
            sealed: false,
        };
        while let Some(frame) = frame::decode(&image.header, &image.bytes, scan.end) {
            if frame.batch != scan.batch {
                let why = format!("frame {} where {} must follow", frame.batch, scan.batch);
                return Err(image.damaged(scan.end, why));
            }
            self.replay(image, &frame, &mut scan)?;
            scan.last_frame = Some(scan.end..frame.end);
            scan.batch += 1;
            scan.end = frame.end;
            if scan.sealed {
                break;
            }
        }
        Ok(scan)
    }

    fn replay(&mut self, image: &Image, frame: &Frame, scan: &mut Scan) -> Result<(), OpenError> {
        let not_understood = |why: String| OpenError::NotUnderstood {
            path: image.path.clone(),
            offset: scan.end as u64,
            why,
        };
        let mut records = 0;
        for record in decode_all(&image.bytes[frame.body.clone()]) {
            let record = record.ok_or_else(|| not_understood("an unknown record".into()))?;
            records += 1;
            self.extent.apply(&record).map_err(|gap| image.damaged(scan.end, gap.to_string()))?;
            self.state.apply(&record);
            (self.replay)(&record).map_err(not_understood)?;
            match record {
                Record::Append { index, .. } => scan.last_index = scan.last_index.max(Some(index)),
                Record::Seal => scan.sealed = true,
                _ => {}
            }
        }
        if records != frame.records {
            let why = format!("{records} records where its frame says {}", frame.records);
            return Err(not_understood(why));
        }
        Ok(())
    }

    fn seal(&mut self, image: Image, scan: &Scan) {
        let SegmentHeader { seq, .. } = image.header;
        self.sealed.push_back(Sealed { seq, last_index: scan.last_index });
        let seal = scan.last_frame.clone().expect("invariant: a sealed segment has its seal");
        self.seal = Some((seq, seal.start as u64, image.bytes[seal].to_vec()));
    }

    /// An unsealed segment has a successor only where a rotation was cut short: then that is the
    /// last one, without frames, and its first will be the one after the seal.
    fn check_successor(
        &self,
        image: &Image,
        scan: &Scan,
        successor: u64,
        last: u64,
    ) -> Result<(), OpenError> {
        let next = self.read(successor)?;
        let empty = next.bytes[segment::FIRST_FRAME_AT..].iter().all(|byte| *byte == 0);
        if successor == last && empty && next.header.first_batch == scan.batch + 1 {
            return Ok(());
        }
        let why = "the frame here is broken, and later segments hold data".into();
        Err(image.damaged(scan.end, why))
    }

    /// Makes the last segment ready to be continued, and all that was replayed durable.
    fn finish(
        self,
        image: &Image,
        scan: &Scan,
        successor: Option<u64>,
    ) -> Result<Recovered<D::File>, OpenError> {
        let used = image.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let later = (scan.end..used).step_by(ALIGNMENT);
        if let Some(later) =
            later.skip(1).find(|at| frame::decode(&image.header, &image.bytes, *at).is_some())
        {
            let why = format!("the frame here is broken, and a valid one follows at byte {later}");
            return Err(image.damaged(scan.end, why));
        }
        if let Err(gap) = self.extent.check_front() {
            let oldest = self.sealed.front().map_or(image.header.seq, |sealed| sealed.seq);
            let path = self.disk.path(&segment::name(oldest.saturating_sub(1)));
            tracing::error!(%gap, "the oldest entries of the log are missing");
            return Err(OpenError::Missing { path });
        }
        if let Some(successor) = successor {
            let name = segment::name(successor);
            let path = self.disk.path(&name);
            self.disk.remove(&name).map_err(OpenError::io("remove", &path))?;
        }
        let open = |seq| self.disk.open(&segment::name(seq));
        let file = open(image.header.seq).map_err(OpenError::io("open", &image.path))?;
        rewrite(&file, image, scan, used).map_err(OpenError::io("sync", &image.path))?;
        if let (None, Some((seq, at, seal))) = (&scan.last_frame, &self.seal) {
            let path = self.disk.path(&segment::name(*seq));
            let file = open(*seq).map_err(OpenError::io("open", &path))?;
            let synced = file.write_at(seal, *at).and_then(|()| file.sync());
            synced.map_err(OpenError::io("sync", &path))?;
        }
        let folder = self.disk.path("");
        self.disk.sync_names().map_err(OpenError::io("sync", &folder))?;
        let mut current = Current::new(file, image.header);
        (current.at, current.batch, current.last_index) = (scan.end, scan.batch, scan.last_index);
        let Self { sealed, extent, state, .. } = self;
        Ok(Recovered { current, sealed, extent, state })
    }
}

/// Wipes what stands behind the last frame, and writes that frame once more before the sync. After
/// a failed sync the kernel takes its pages for clean: the frame would be seen at every start
/// until the machine stops, and a sync alone would not write it.
fn rewrite<F: DiskFile>(file: &F, image: &Image, scan: &Scan, used: usize) -> io::Result<()> {
    if let Some(frame) = &scan.last_frame {
        file.write_at(&image.bytes[frame.clone()], frame.start as u64)?;
    }
    if used > scan.end {
        file.write_at(&vec![0; used - scan.end], scan.end as u64)?;
    }
    file.sync()
}

impl Image {
    fn damaged(&self, offset: usize, why: String) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), offset: offset as u64, why }
    }
}
