//! Roster requests and pushes (RFC 6121 2).

use super::presence::{bare, bare_presence, new_item, user_of};
use super::roster::{ITEMS_MAX, Step, write_roster};
use super::{Parcel, XmppDomain};
use turn::StreamId;
use xml::{Limits, Reader, StreamNamespaces, writer};
use xmpp::jid::JidParts;
use xmpp::stanza::{Condition, Iq, IqType, write_iq};

/// Octets of a name or a group (RFC 6121 2.3.3 leaves the limit to the server).
const TEXT_MAX: usize = 1023;
/// Groups of one item.
const GROUPS_MAX: usize = 50;

/// What a roster set asks for.
struct Change {
    address: JidParts<'static>,
    name: Option<String>,
    groups: Vec<String>,
    remove: bool,
}

impl XmppDomain {
    /// A client asks for its roster; from now on it is told of changes.
    pub(super) fn roster_payload(&mut self, stream: StreamId, user: &str) -> Vec<u8> {
        if let Some(session) = self.session_mut(stream) {
            session.interested = true;
        }
        let mut payload = Vec::new();
        if let Some(account) = self.accounts.find(user) {
            write_roster(&account.roster, &mut payload);
        }
        payload
    }

    /// RFC 6121 2.1.3: who asks for the roster says nothing of its items.
    pub(super) fn check_roster_get(&self, stream: StreamId, iq: &Iq<'_>) -> Result<(), Condition> {
        let namespaces = self.peers.get(stream).map(|peer| peer.namespaces().clone()).unwrap_or_default();
        let holds_item = holds_item(iq, &namespaces, &self.settings.limits).map_err(|_| Condition::BadRequest)?;
        if holds_item { Err(Condition::BadRequest) } else { Ok(()) }
    }

    /// A client changes one item (RFC 6121 2.3 to 2.5). What the result follows: the pushes and what a removal entails.
    pub(super) fn set_roster(&mut self, stream: StreamId, parcel: Parcel<'_>, iq: &Iq<'_>) -> Result<(), Condition> {
        let namespaces = self.peers.get(stream).map(|peer| peer.namespaces().clone()).unwrap_or_default();
        let change = read_change(iq, &namespaces, &self.settings.limits)?;
        let own_bare = parcel.from.split('/').next().unwrap_or_default().to_owned();
        let user = user_of(&own_bare).to_owned();
        let address = bare(&change.address);
        let Some(account) = self.accounts.find_mut(&user) else { return Err(Condition::InternalServerError) };
        if address == own_bare {
            return Err(Condition::NotAllowed);
        }
        let listed = account.roster.get(&address).is_some_and(|item| item.listed);
        if change.remove {
            if !listed {
                return Err(Condition::ItemNotFound);
            }
            self.remove(&own_bare, &change.address);
            return Ok(());
        }
        if !account.roster.contains_key(&address) && account.roster.len() >= ITEMS_MAX {
            return Err(Condition::ResourceConstraint);
        }
        let item = account.roster.entry(address.clone()).or_insert_with(new_item);
        item.listed = true;
        item.name = change.name;
        item.groups = change.groups;
        self.push(&user, &address);
        Ok(())
    }

    /// RFC 6121 2.5.2: both subscriptions end, then the item is gone.
    fn remove(&mut self, own_bare: &str, contact: &JidParts<'_>) {
        let user = user_of(own_bare).to_owned();
        let address = bare(contact);
        let Some(item) = self.accounts.find(&user).and_then(|account| account.roster.get(&address)).cloned() else {
            return;
        };
        for (step, needed) in
            [(Step::Unsubscribe, item.to || item.pending_out), (Step::Unsubscribed, item.from || item.pending_in)]
        {
            if needed {
                let envelope = bare_presence(if step == Step::Unsubscribe { "unsubscribe" } else { "unsubscribed" });
                let parcel = Parcel { origin: None, from: own_bare, to: contact, id: "", envelope: &envelope };
                self.change(own_bare, contact, step, parcel);
            }
        }
        if let Some(account) = self.accounts.find_mut(&user) {
            account.roster.remove(&address);
            account.asking.remove(&address);
        }
        self.push(&user, &address);
    }

    /// Tells all interested resources how an item is now (RFC 6121 2.1.6).
    pub(super) fn push(&mut self, user: &str, address: &str) {
        let Some(account) = self.accounts.find(user) else { return };
        let mut payload = b"<query xmlns='jabber:iq:roster'>".to_vec();
        match account.roster.get(address) {
            Some(item) if item.listed => item.write(address, &mut payload),
            Some(_) => return,
            None => {
                payload.extend_from_slice(b"<item");
                writer::attribute("jid", address, &mut payload);
                payload.extend_from_slice(b" subscription='remove'/>");
            }
        }
        payload.extend_from_slice(b"</query>");
        for stream in account.sessions.clone() {
            let Some(session) = self.session(stream).filter(|session| session.interested) else { continue };
            let to = session.acceptor.address().to_owned();
            let mut id = b"push-".to_vec();
            id.extend_from_slice(&turn::base32::<12>(self.minter.mint()));
            self.send(stream, |out| {
                write_iq(IqType::Set, b"", to.as_bytes(), &id, &payload, out);
            });
        }
    }
}

/// Whether there is an `<item/>` in the query.
fn holds_item(iq: &Iq<'_>, namespaces: &StreamNamespaces, limits: &Limits) -> Result<bool, xml::Error> {
    let mut reader = Reader::new(iq.raw, namespaces, limits)?;
    reader.next()?;
    while reader.next_child()? {
        while reader.next_child()? {
            if reader.is("jabber:iq:roster", "item") {
                return Ok(true);
            }
            reader.skip_element()?;
        }
    }
    Ok(false)
}

fn read_change(iq: &Iq<'_>, namespaces: &StreamNamespaces, limits: &Limits) -> Result<Change, Condition> {
    let bad = |_: xml::Error| Condition::BadRequest;
    // Read within the stanza, where its prefixes are declared.
    let mut reader = Reader::new(iq.raw, namespaces, limits).map_err(bad)?;
    reader.next().map_err(bad)?;
    let mut change = None;
    while reader.next_child().map_err(bad)? {
        if !reader.is("jabber:iq:roster", "query") {
            reader.skip_element().map_err(bad)?;
            continue;
        }
        while reader.next_child().map_err(bad)? {
            if !reader.is("jabber:iq:roster", "item") {
                reader.skip_element().map_err(bad)?;
                continue;
            }
            // RFC 6121 2.3.3: exactly one.
            if change.is_some() {
                return Err(Condition::BadRequest);
            }
            let address = reader.attribute("jid").map_err(bad)?.ok_or(Condition::BadRequest)?;
            let address = JidParts::parse(&address).map_err(|_| Condition::JidMalformed)?.into_bare().into_owned();
            let name = reader.attribute("name").map_err(bad)?.map(|name| name.into_owned());
            let remove = reader.attribute("subscription").map_err(bad)?.as_deref() == Some("remove");
            if name.as_ref().is_some_and(|name| name.len() > TEXT_MAX) {
                return Err(Condition::NotAcceptable);
            }
            let mut groups: Vec<String> = Vec::new();
            while reader.next_child().map_err(bad)? {
                if !reader.is("jabber:iq:roster", "group") {
                    reader.skip_element().map_err(bad)?;
                    continue;
                }
                let group = reader.text_content().map_err(bad)?.into_owned();
                if group.is_empty() || group.len() > TEXT_MAX || groups.len() >= GROUPS_MAX {
                    return Err(Condition::NotAcceptable);
                }
                if groups.contains(&group) {
                    return Err(Condition::BadRequest);
                }
                groups.push(group);
            }
            change = Some(Change { address, name, groups, remove });
        }
    }
    change.ok_or(Condition::BadRequest)
}
