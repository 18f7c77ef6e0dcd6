//! Byte buffers that are used again.

/// Empty vectors with capacity. What outlives a turn is copied into one of them, so that a steady flow allocates nothing.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<Vec<u8>>,
}

/// A buffer that grew beyond this is given back to the allocator.
const KEPT_CAPACITY: usize = 4096;
/// At most so many buffers wait for use.
const KEPT_BUFFERS: usize = 4096;

impl Pool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer.
    pub fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && buffer.capacity() <= KEPT_CAPACITY && self.free.len() < KEPT_BUFFERS {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}
