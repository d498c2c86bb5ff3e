//! What the devices wrote down.

/// A send's client id, as its 128 bits.
pub type ClientKey = u128;

/// A file's id, as its 128 bits.
pub type FileKey = u128;

/// The content of an attempt that is not compared with what arrives, for example of a create command.
pub const NO_CONTENT: u64 = 0;

/// Everything that was recorded.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The conversations; entries name them by their index.
    pub conversations: Vec<Conversation>,
    /// The devices.
    pub devices: Vec<Device>,
}

/// A conversation, as the clients made it.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// A name for people.
    pub name: String,
    /// The users who are its members from its first event to its last.
    pub members: Vec<u32>,
}

/// What one device wrote down, in its own order.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// A name for people.
    pub name: String,
    /// The user whose device it is.
    pub user: u32,
    /// What happened to it.
    pub entries: Vec<Entry>,
}

/// One thing that happened to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A connection came up.
    Connected,
    /// The connection was lost.
    Disconnected,
    /// A send was handed to the client for the first time; repeats are the client's own affair.
    Attempted {
        /// Its client id.
        client: ClientKey,
        /// The conversation's index.
        conversation: u32,
        /// A hash of what was sent; [`NO_CONTENT`] when it is not compared.
        content: u64,
    },
    /// The server answered a send with a seq.
    Acked {
        /// Its client id.
        client: ClientKey,
        /// The seq.
        seq: u64,
    },
    /// The server refused a send for good.
    Refused {
        /// Its client id.
        client: ClientKey,
    },
    /// The device showed an event.
    Observed(Observed),
    /// The server answered that it keeps a file.
    Uploaded {
        /// The file.
        file: FileKey,
        /// A hash of its bytes.
        content: u64,
    },
    /// The device showed an event that refers to a file.
    Attached {
        /// The conversation's index.
        conversation: u32,
        /// The event's seq.
        seq: u64,
        /// The file.
        file: FileKey,
    },
    /// The device asked for a file at the end.
    Fetched {
        /// The file.
        file: FileKey,
        /// A hash of the bytes that it got; [`NO_CONTENT`] where it got none.
        content: u64,
    },
    /// At the end the client says that it has the conversation up to this seq.
    Ended {
        /// The conversation's index.
        conversation: u32,
        /// The seq.
        seq: u64,
    },
}

/// An event as a device showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// The client id that it carried; 0 when it carried none.
    pub client: ClientKey,
    /// Its seq.
    pub seq: u64,
    /// A hash of its content.
    pub content: u64,
    /// The conversation's index.
    pub conversation: u32,
    /// The user who sent it.
    pub sender: u32,
}
