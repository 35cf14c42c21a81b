/* Debian's libcivetweb1 1.15 looks up SSL_get_peer_certificate, which OpenSSL 3 only has as a macro, and calls a null
   pointer at its first TLS connection. As "libssl.so" in front of the real library, this gives it what it looks for. */
extern void *SSL_get1_peer_certificate(const void *ssl);

void *SSL_get_peer_certificate(const void *ssl) { return SSL_get1_peer_certificate(ssl); }
