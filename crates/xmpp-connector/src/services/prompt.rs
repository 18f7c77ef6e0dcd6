//! Addresses of SIP users for people who know only how SIP writes them (XEP-0100 section 6.3).

use super::{Request, Site};
use crate::translate::address;
use cpim::msgfmt::Address;
use cpim::{DomainPattern, ImUri, Rule, canonical_domain, telephone};
use std::borrow::Cow;
use xmpp::query;
use xmpp::stanza::Condition;

/// What people are asked, by language: the question and the name of the field.
const PROMPTS: [(&str, &str, &str); 8] = [
    ("en", "Enter the SIP address of the person you want to write to, such as sip:juliet@example.org", "SIP address"),
    (
        "de",
        "Geben Sie die SIP-Adresse der Person ein, der Sie schreiben wollen, zum Beispiel sip:juliet@example.org",
        "SIP-Adresse",
    ),
    (
        "es",
        "Introduzca la dirección SIP de la persona a la que quiere escribir, por ejemplo sip:juliet@example.org",
        "Dirección SIP",
    ),
    (
        "fr",
        "Saisissez l'adresse SIP de la personne à qui vous voulez écrire, par exemple sip:juliet@example.org",
        "Adresse SIP",
    ),
    (
        "it",
        "Inserisci l'indirizzo SIP della persona a cui vuoi scrivere, per esempio sip:juliet@example.org",
        "Indirizzo SIP",
    ),
    (
        "nl",
        "Voer het SIP-adres in van de persoon aan wie u wilt schrijven, bijvoorbeeld sip:juliet@example.org",
        "SIP-adres",
    ),
    ("pl", "Podaj adres SIP osoby, do której chcesz napisać, na przykład sip:juliet@example.org", "Adres SIP"),
    (
        "pt",
        "Introduza o endereço SIP da pessoa a quem quer escrever, por exemplo sip:juliet@example.org",
        "Endereço SIP",
    ),
];

/// Asks in the language of the request, else in English.
pub(super) fn ask(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    let wanted = request.iq.lang.as_deref().unwrap_or_default();
    let primary = wanted.split('-').next().unwrap_or_default();
    let known = PROMPTS.iter().find(|(language, ..)| language.eq_ignore_ascii_case(primary));
    let (language, question, field) = known.unwrap_or(&PROMPTS[0]);
    query::write_prompt(language, question, field, out);
    Ok(())
}

/// Gives the JID under which an address is shown here.
pub(super) fn translate(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    let site = request.site;
    let entered = query::read_prompt(request.iq, site.component.namespaces(), &site.settings.limits);
    let entered = entered.ok_or(Condition::BadRequest)?;
    let user = read(entered.trim(), site).ok_or(Condition::NotAcceptable)?;
    let mut jid = Vec::new();
    address::write_presented(&user, site.presentations, &mut jid).map_err(|_| Condition::NotAcceptable)?;
    query::write_prompted(&jid, out);
    Ok(())
}

/// The user that somebody means by a URI, by an address without a scheme, or by a name alone where that can only be one of
/// a single domain.
fn read<'a>(entered: &'a str, site: &Site<'a>) -> Option<ImUri<'a>> {
    if let Some(number) = site.numbers.and_then(|domain| number(entered, domain)) {
        return Some(number);
    }
    let named = Address::parse(entered).unwrap_or(Address { name: Cow::Borrowed(""), uri: entered });
    if let Some(user) = named.inbox() {
        return Some(user);
    }
    // What has a scheme that is not one of ours is another kind of address.
    if entered.contains(char::is_whitespace) || entered.contains(':') {
        return None;
    }
    let (local, domain) = match entered.rsplit_once('@') {
        Some(parts) => parts,
        None => (entered, only_home(site)?),
    };
    ImUri::from_parts(Cow::Borrowed(local), Cow::Borrowed(domain)).ok()
}

/// The user of the domain of numbers who is meant by a telephone number, with or without its scheme, as people write it.
fn number<'a>(entered: &str, domain: &'a str) -> Option<ImUri<'a>> {
    let (scheme, number) = entered.split_once(':').unwrap_or(("tel", entered));
    if !scheme.eq_ignore_ascii_case("tel") {
        return None;
    }
    let number = number.replace(' ', "");
    let number = telephone::canonical(&number)?.into_owned();
    ImUri::from_parts(Cow::Owned(number), Cow::Borrowed(domain)).ok()
}

/// The one domain whose users are shown under the domain that was asked.
fn only_home<'a>(site: &Site<'a>) -> Option<&'a str> {
    let asked = canonical_domain(site.domain).ok()?;
    let mut homes = site.presentations.rows().iter().filter_map(|row| match (&row.home, row.rule) {
        (DomainPattern::Exactly(home), Rule::Same) => (**home == *asked).then_some(Some(&**home)),
        (DomainPattern::Exactly(home), _) => (*row.shown_as == *asked).then_some(Some(&**home)),
        (_, Rule::Same) => None,
        // Any domain is one too many.
        _ => (*row.shown_as == *asked).then_some(None),
    });
    let first = homes.next()??;
    homes.next().is_none().then_some(first)
}
