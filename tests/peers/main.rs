//! The gateway between real servers and clients. Run by `./test`, which also installs them; see `tests/src/peers`.

mod peers_alone;
