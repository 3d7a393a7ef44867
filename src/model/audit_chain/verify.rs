//! Verifies a sequence of sealed rows, one after the other.
//!
//! Invariant: the first row that is not what it was when it was sealed is named, and so is a row
//! that is missing, if an anchor or a later row shows that there was one.

use std::collections::BTreeMap;
use std::fmt;

use super::{ChainKey, Link, Mac, SealedRow};
use crate::model::id::AuditId;

/// What is wrong with the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The row was changed, or the mac, or the mac before it.
    Mac,
    /// Rows before it are missing.
    Gap {
        /// The first of them.
        missing: i64,
    },
    /// It stands before or behind its place.
    Order {
        /// The place that comes here.
        wanted: i64,
    },
    /// An anchor names another mac for this place.
    Anchor,
    /// An anchor, the head or an earlier look shows that there was this row.
    Truncated {
        /// The newest that is there.
        newest: i64,
    },
    /// The head of the chain is not its newest row.
    Head {
        /// The newest that is there.
        newest: i64,
    },
}

/// The first row at which the chain breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its place; where it is missing, the place that it had.
    pub seq: i64,
    /// Its id, if it is there.
    pub id: Option<AuditId>,
    /// What is wrong.
    pub flaw: Flaw,
}

impl Flaw {
    /// Its name: `mac`, `gap`, `order`, `anchor`, `truncated` or `head`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mac => "mac",
            Self::Gap { .. } => "gap",
            Self::Order { .. } => "order",
            Self::Anchor => "anchor",
            Self::Truncated { .. } => "truncated",
            Self::Head { .. } => "head",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq {}", self.seq)?;
        if let Some(id) = self.id {
            write!(f, " (id {})", id.0)?;
        }
        write!(f, ": {}: ", self.flaw.name())?;
        match self.flaw {
            Flaw::Mac => {
                f.write_str("the row is not what was sealed, or does not follow the one before it")
            }
            Flaw::Gap { missing } => write!(f, "seq {missing} is missing before it"),
            Flaw::Order { wanted } => write!(f, "it stands where seq {wanted} belongs"),
            Flaw::Anchor => f.write_str("an anchor names another mac for it"),
            Flaw::Truncated { newest } => {
                write!(f, "it was there once, and the rows end at seq {newest}")
            }
            Flaw::Head { newest } => {
                write!(f, "the head names it, but the newest row is seq {newest}")
            }
        }
    }
}

impl std::error::Error for Broken {}

/// Follows the chain row by row.
#[derive(Debug)]
pub struct Verifier<'k> {
    key: &'k ChainKey,
    last: Link,
    rows: u64,
    /// What anchors say of places still to come.
    anchors: BTreeMap<i64, Vec<Mac>>,
    anchors_met: u64,
    /// A row that came too early: whether one is missing or two are swapped, the next one tells.
    early: Option<Broken>,
}

impl<'k> Verifier<'k> {
    /// Begins behind a link that is known; [`Link::START`] for the whole chain.
    pub fn new(key: &'k ChainKey, from: Link) -> Self {
        Self {
            key,
            last: from,
            rows: 0,
            anchors: BTreeMap::new(),
            anchors_met: 0,
            early: None,
        }
    }

    /// Holds the chain against anchors that count. Those of places before the first row are of no
    /// use.
    ///
    /// # Errors
    /// [`Broken`] if one contradicts the link that this began behind.
    pub fn anchored(mut self, anchors: impl IntoIterator<Item = Link>) -> Result<Self, Broken> {
        for anchor in anchors {
            if anchor.seq > self.last.seq {
                self.anchors.entry(anchor.seq).or_default().push(anchor.mac);
            } else if anchor.seq == self.last.seq {
                self.anchors_met += 1;
                if !anchor.mac.fits(&self.last.mac) {
                    return Err(Broken {
                        seq: anchor.seq,
                        id: None,
                        flaw: Flaw::Anchor,
                    });
                }
            }
        }
        Ok(self)
    }

    /// The newest link that was found sound.
    pub fn last(&self) -> Link {
        self.last
    }

    /// Rows that were found sound.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Anchors that agreed.
    pub fn anchors_met(&self) -> u64 {
        self.anchors_met
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// [`Broken`]: the first row at which the chain breaks. What follows it proves nothing.
    pub fn row(&mut self, next: &SealedRow) -> Result<(), Broken> {
        let SealedRow { link, row } = next;
        let broken = |flaw| Broken {
            seq: link.seq,
            id: Some(row.id),
            flaw,
        };
        // A place that nothing follows is the last one there can be.
        let wanted = self.last.seq.saturating_add(1);
        if let Some(early) = self.early {
            return Err(if link.seq == wanted {
                Broken {
                    flaw: Flaw::Order { wanted },
                    ..early
                }
            } else {
                early
            });
        }
        if link.seq > wanted {
            self.early = Some(broken(Flaw::Gap { missing: wanted }));
            return Ok(());
        }
        if link.seq < wanted {
            return Err(broken(Flaw::Order { wanted }));
        }
        let mac = self.key.mac(&self.last.mac, link.seq, row);
        if !mac.fits(&link.mac) {
            return Err(broken(Flaw::Mac));
        }
        for anchor in self.anchors.remove(&link.seq).unwrap_or_default() {
            if !anchor.fits(&mac) {
                return Err(broken(Flaw::Anchor));
            }
            self.anchors_met += 1;
        }
        self.last = *link;
        self.rows += 1;
        Ok(())
    }

    /// Says that no row follows.
    ///
    /// # Errors
    /// [`Broken`] if a row was still to come.
    pub fn end(&self) -> Result<(), Broken> {
        if let Some(early) = self.early {
            return Err(early);
        }
        match self.anchors.keys().next() {
            None => Ok(()),
            Some(&seq) => Err(Broken {
                seq,
                id: None,
                flaw: Flaw::Truncated {
                    newest: self.last.seq,
                },
            }),
        }
    }

    /// Says where the chain's head is, once every row was taken.
    ///
    /// # Errors
    /// [`Broken`] if it is elsewhere, or as [`Verifier::end`].
    pub fn end_at(&self, head: Link) -> Result<(), Broken> {
        if let Some(early) = self.early {
            return Err(early);
        }
        let newest = self.last.seq;
        let flaw = if head.seq > newest {
            Flaw::Truncated { newest }
        } else if head.seq < newest || !head.mac.fits(&self.last.mac) {
            Flaw::Head { newest }
        } else {
            return self.end();
        };
        Err(Broken {
            seq: head.seq,
            id: None,
            flaw,
        })
    }
}
