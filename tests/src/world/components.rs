//! Several component streams: the test looks at one of them, the others lie aside.

use super::World;
use turn::StreamId;

/// A component stream that the test does not look at: what the gateway writes to it waits.
#[derive(Debug)]
pub struct Aside {
    stream: Option<StreamId>,
    received: Vec<u8>,
    unconsumed: Vec<u8>,
    framer: xml::Framer,
}

impl Default for Aside {
    fn default() -> Self {
        Self {
            stream: None,
            received: Vec::new(),
            unconsumed: Vec::new(),
            framer: xml::Framer::new(xml::Limits::default()),
        }
    }
}

impl World {
    /// Looks at another stream, of which everything that waited arrives, and gives the one that is put aside for it.
    pub fn turn_to(&mut self, mut aside: Aside) -> Aside {
        std::mem::swap(&mut self.stream, &mut aside.stream);
        std::mem::swap(&mut self.received, &mut aside.received);
        std::mem::swap(&mut self.unconsumed, &mut aside.unconsumed);
        std::mem::swap(&mut self.framer, &mut aside.framer);
        if let Some(stream) = self.stream {
            self.drain(stream);
        }
        aside
    }
}
