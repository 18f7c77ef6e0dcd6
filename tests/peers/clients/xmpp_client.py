#!/usr/bin/python3
"""An XMPP client for the tests: slixmpp, told what to do by JSON lines and telling what it sees by JSON lines.

usage: xmpp_client.py HOST PORT JID PASSWORD plain|tls

With tls the stream must offer STARTTLS, and its certificate may be anybody's; with plain, TLS is not used.

in:  {"do": "message", "to": JID, "body": TEXT, "type": "chat", "id": ID}    a message, written by slixmpp
     {"do": "raw", "xml": TEXT}                                               any stanza, as it is
     {"do": "quit"}                                                           close the stream and end
out: {"event": "online", "jid": JID}
     {"event": "message", "from", "to", "type", "id", "body", "thread", "condition", "error_type", "text", "xml"}
     {"event": "iq", "from", "to", "type", "id", "condition", "error_type", "xml"}    with the payload
     {"event": "presence", "from", "to", "type", "xml"}
     {"event": "offline", "why": TEXT}
"""
import asyncio
import json
import ssl
import sys

import slixmpp
from slixmpp.xmlstream import ET, tostring
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath


def tell(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password):
        # Of use on loopback without TLS only: slixmpp prefers SCRAM wherever it is offered.
        super().__init__(jid, password, plugin_config={"feature_mechanisms": {"unencrypted_plain": True, "unencrypted_scram": True}})
        self.is_online = False
        self.add_event_handler("session_start", self.on_start)
        self.add_event_handler("failed_all_auth", lambda _: tell("offline", why="authentication failed"))
        self.add_event_handler("disconnected", lambda why: tell("offline", why=str(why or "closed")))
        # A server on loopback made its certificate itself.
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        # Below the event layer of slixmpp, which hides errors, empty bodies and unknown types.
        self.register_handler(Callback("every message", StanzaPath("message"), self.on_message))
        self.register_handler(Callback("every iq", StanzaPath("iq"), self.on_iq))
        self.register_handler(Callback("every presence", StanzaPath("presence"), self.on_presence))

    def on_start(self, _):
        self.send_presence()

    def on_message(self, stanza):
        xml = stanza.xml
        told = {"from": xml.get("from", ""), "to": xml.get("to", ""), "type": xml.get("type", "normal"), "id": xml.get("id", "")}
        body = xml.find("{jabber:client}body")
        told["body"] = None if body is None else body.text or ""
        thread = xml.find("{jabber:client}thread")
        told["thread"] = None if thread is None else thread.text or ""
        error = xml.find("{jabber:client}error")
        if error is not None:
            told["error_type"] = error.get("type", "")
            for child in error:
                namespace, _, name = child.tag[1:].partition("}")
                if namespace != "urn:ietf:params:xml:ns:xmpp-stanzas":
                    continue
                if name == "text":
                    told["text"] = child.text or ""
                else:
                    told["condition"] = name
        tell("message", xml=tostring(xml), **told)

    def on_iq(self, stanza):
        xml = stanza.xml
        told = {name: xml.get(name, "") for name in ("from", "to", "type", "id")}
        error = xml.find("{jabber:client}error")
        if error is not None:
            told["error_type"] = error.get("type", "")
            names = (child.tag[1:].partition("}") for child in error)
            told["condition"] = next((name for space, _, name in names if space.endswith(":xmpp-stanzas") and name != "text"), "")
        payload = next((child for child in xml if child is not error), None)
        tell("iq", xml="" if payload is None else tostring(payload), **told)

    def on_presence(self, stanza):
        xml = stanza.xml
        if not self.is_online and xml.get("from") == self.boundjid.full:
            # The server hands our own presence back: from now on messages to the bare JID come here.
            self.is_online = True
            tell("online", jid=self.boundjid.full)
        tell("presence", xml=tostring(xml), **{"from": xml.get("from", ""), "to": xml.get("to", ""), "type": xml.get("type", "available")})

    def obey(self, order):
        if order["do"] == "message":
            message = self.make_message(mto=order["to"], mbody=order["body"], mtype=order["type"])
            message["id"] = order["id"]
            message.send()
        elif order["do"] == "raw":
            ET.fromstring(order["xml"])
            self.send_raw(order["xml"])
        elif order["do"] == "quit":
            # Offline only when the server knows it too.
            self.disconnect(wait=60)
        else:
            raise ValueError(f"unknown order {order!r}")


async def main():
    host, port, jid, password, security = sys.argv[1:]
    tls = security == "tls"
    client = Client(jid, password)
    client.connect(address=(host, int(port)), use_ssl=False, force_starttls=tls, disable_starttls=not tls)
    reader = asyncio.StreamReader(limit=4 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        client.obey(json.loads(line))
    client.disconnect()
    await asyncio.sleep(0.5)


asyncio.run(main())
