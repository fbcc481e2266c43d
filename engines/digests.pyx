# distutils: libraries = crypto
"""The checksums that OpenSSL has: imported only for a job that asks for one of them."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport abort
from libc.string cimport memcpy, memset

from cpython.pycapsule cimport PyCapsule_New

from iovigil.engines.checksums cimport CHECKSUM_CAPSULE, checksum_fn

# The functions below are deprecated because they pass the providers by. They also need no memory and no locks: a
# context lies on the stack, and shows its state, which fio writes instead of the digest of sha1 and sha256.
cdef extern from * nogil:
    """
    #define OPENSSL_SUPPRESS_DEPRECATED
    #include <openssl/evp.h>
    #include <openssl/md5.h>
    #include <openssl/sha.h>
    static _Thread_local EVP_MD_CTX *evp_context;
    """
    ctypedef struct MD5_CTX:
        uint32_t A, B, C, D
    ctypedef struct SHA_CTX:
        uint32_t h0, h1, h2, h3, h4
    ctypedef struct SHA256_CTX:
        uint32_t[8] h
    ctypedef struct SHA512_CTX:
        pass
    ctypedef struct EVP_MD:
        pass
    ctypedef struct EVP_MD_CTX:
        pass
    int MD5_Init(MD5_CTX *context)
    int MD5_Update(MD5_CTX *context, const void *data, size_t length)
    int MD5_Final(unsigned char *digest, MD5_CTX *context)
    int SHA1_Init(SHA_CTX *context)
    int SHA1_Update(SHA_CTX *context, const void *data, size_t length)
    int SHA1_Final(unsigned char *digest, SHA_CTX *context)
    int SHA256_Init(SHA256_CTX *context)
    int SHA256_Update(SHA256_CTX *context, const void *data, size_t length)
    int SHA512_Init(SHA512_CTX *context)
    int SHA512_Update(SHA512_CTX *context, const void *data, size_t length)
    int SHA512_Final(unsigned char *digest, SHA512_CTX *context)
    EVP_MD *EVP_MD_fetch(void *library, const char *name, const char *properties)
    EVP_MD_CTX *EVP_MD_CTX_new()
    int EVP_DigestInit_ex(EVP_MD_CTX *context, const EVP_MD *kind, void *engine)
    int EVP_DigestUpdate(EVP_MD_CTX *context, const void *data, size_t length)
    int EVP_DigestFinal_ex(EVP_MD_CTX *context, unsigned char *digest, unsigned int *size)
    EVP_MD_CTX *evp_context

cdef enum:
    BLOCK = 64  # of md5, sha1, sha256
    SHA256_WORDS = 8
    SHA512_BLOCK = 128
    SHA512_DIGEST = 64
    END_MARK = 0x80  # opens the padding of every one of them

cdef EVP_MD *sha3_224 = NULL
cdef EVP_MD *sha3_256 = NULL
cdef EVP_MD *sha3_384 = NULL
cdef EVP_MD *sha3_512 = NULL


cdef void md5_field(const char *data, uint64_t length, char *field) noexcept nogil:
    cdef MD5_CTX context
    MD5_Init(&context)
    MD5_Update(&context, data, length)
    MD5_Final(<unsigned char *>field, &context)


cdef void sha1_field(const char *data, uint64_t length, char *field) noexcept nogil:
    """The digest as words of this machine, not as SHA-1 orders their bytes."""
    cdef SHA_CTX context
    cdef unsigned char[20] digest
    SHA1_Init(&context)
    SHA1_Update(&context, data, length)
    SHA1_Final(digest, &context)
    put_words(field, &context)


cdef inline void put_words(char *field, const SHA_CTX *context) noexcept nogil:
    cdef uint32_t[5] words
    words[0] = context.h0
    words[1] = context.h1
    words[2] = context.h2
    words[3] = context.h3
    words[4] = context.h4
    memcpy(field, words, sizeof(words))


cdef void sha256_field(const char *data, uint64_t length, char *field) noexcept nogil:
    """The low byte of each word of the state, then what else was in the last block of the padded data.

    That has the number of bits in the other byte order than SHA-256 wants, hence the padding by hand.
    """
    cdef SHA256_CTX context
    cdef unsigned char[2 * BLOCK] padded
    cdef uint64_t whole = length // BLOCK * BLOCK
    cdef uint64_t rest = length - whole
    cdef uint64_t size = BLOCK if rest + 1 + sizeof(uint64_t) <= BLOCK else 2 * BLOCK
    cdef uint64_t bits = length * 8
    cdef int word
    memset(padded, 0, sizeof(padded))
    memcpy(padded, data + whole, rest)
    padded[rest] = END_MARK
    memcpy(padded + size - sizeof(bits), &bits, sizeof(bits))
    SHA256_Init(&context)
    SHA256_Update(&context, data, whole)
    SHA256_Update(&context, padded, size)
    memcpy(field, padded + size - BLOCK, BLOCK)
    for word in range(SHA256_WORDS):
        field[word] = <char>(context.h[word] & 0xFF)


cdef void sha512_field(const char *data, uint64_t length, char *field) noexcept nogil:
    """The digest, then the second half of the last block of the padded data."""
    cdef SHA512_CTX context
    cdef uint64_t rest = length % SHA512_BLOCK
    cdef uint64_t bits = length * 8
    cdef char[SHA512_BLOCK] padded
    cdef uint64_t at
    memset(padded, 0, sizeof(padded))
    # With less than 17 bytes of room there is another block, of zeroes and the number of bits.
    if rest + 1 + 2 * sizeof(uint64_t) <= SHA512_BLOCK:
        memcpy(padded, data + length - rest, rest)
        padded[rest] = <char>END_MARK
    for at in range(sizeof(bits)):
        padded[SHA512_BLOCK - 1 - at] = <char>(bits >> 8 * at & 0xFF)
    SHA512_Init(&context)
    SHA512_Update(&context, data, length)
    SHA512_Final(<unsigned char *>field, &context)
    memcpy(field + SHA512_DIGEST, padded + SHA512_DIGEST, SHA512_BLOCK - SHA512_DIGEST)


cdef void legacy_sha512_field(const char *data, uint64_t length, char *field) noexcept nogil:
    """Of fio before 3.39: no digest, but the data's first block with what its last has beyond whole ones on top.

    Of data shorter than a block there is nothing else, and the rest of the field stays as it is: fio cannot verify
    such blocks either.
    """
    cdef uint64_t rest = length % SHA512_BLOCK
    if length >= SHA512_BLOCK:
        memcpy(field, data, SHA512_BLOCK)
    memcpy(field, data + length - rest, rest)


# fio 2.1 never ended a digest: its fields have the state after the whole blocks of the data.
cdef void oldest_md5_field(const char *data, uint64_t length, char *field) noexcept nogil:
    cdef MD5_CTX context
    cdef uint32_t[4] words
    MD5_Init(&context)
    MD5_Update(&context, data, length // BLOCK * BLOCK)
    words[0] = context.A
    words[1] = context.B
    words[2] = context.C
    words[3] = context.D
    memcpy(field, words, sizeof(words))


cdef void oldest_sha1_field(const char *data, uint64_t length, char *field) noexcept nogil:
    cdef SHA_CTX context
    SHA1_Init(&context)
    SHA1_Update(&context, data, length // BLOCK * BLOCK)
    put_words(field, &context)


cdef inline void sha3_field(const EVP_MD *kind, const char *data, uint64_t length, char *field) noexcept nogil:
    # There is no other way to SHA-3 in OpenSSL. One context for each thread, as long as the process: no memory is asked
    # for after the first block.
    if evp_context == NULL:
        init_evp_context()
    # A wrong checksum would be reported as a disk's fault.
    if (
        EVP_DigestInit_ex(evp_context, kind, NULL) != 1
        or EVP_DigestUpdate(evp_context, data, length) != 1
        or EVP_DigestFinal_ex(evp_context, <unsigned char *>field, NULL) != 1
    ):
        abort()


cdef void init_evp_context() noexcept nogil:
    global evp_context
    evp_context = EVP_MD_CTX_new()
    if evp_context == NULL:
        abort()


cdef void sha3_224_field(const char *data, uint64_t length, char *field) noexcept nogil:
    sha3_field(sha3_224, data, length, field)


cdef void sha3_256_field(const char *data, uint64_t length, char *field) noexcept nogil:
    sha3_field(sha3_256, data, length, field)


cdef void sha3_384_field(const char *data, uint64_t length, char *field) noexcept nogil:
    sha3_field(sha3_384, data, length, field)


cdef void sha3_512_field(const char *data, uint64_t length, char *field) noexcept nogil:
    sha3_field(sha3_512, data, length, field)


cdef EVP_MD *fetched(bytes name) except NULL:
    cdef EVP_MD *kind = EVP_MD_fetch(NULL, name, NULL)
    if kind == NULL:
        raise ValueError(f"OpenSSL has no {name.decode()} here: choose another checksum or change /etc/ssl/openssl.cnf")
    return kind


cdef checksum_fn finished_function(str name) except? NULL:
    global sha3_224, sha3_256, sha3_384, sha3_512
    if name == "md5":
        return md5_field
    if name == "sha1":
        return sha1_field
    if name == "sha256":
        return sha256_field
    if name == "sha512":
        return sha512_field
    if name == "sha3-224":
        sha3_224 = sha3_224 or fetched(b"SHA3-224")
        return sha3_224_field
    if name == "sha3-256":
        sha3_256 = sha3_256 or fetched(b"SHA3-256")
        return sha3_256_field
    if name == "sha3-384":
        sha3_384 = sha3_384 or fetched(b"SHA3-384")
        return sha3_384_field
    if name == "sha3-512":
        sha3_512 = sha3_512 or fetched(b"SHA3-512")
        return sha3_512_field
    return NULL


cdef checksum_fn oldest_function(str name) noexcept:
    if name == "md5":
        return oldest_md5_field
    if name == "sha1":
        return oldest_sha1_field
    return NULL


def function_of(str name, str generation):
    """A capsule with the checksum_fn of headers of this generation; None where what they have tells nothing.

    fio 2.1 has no digest of sha256 and sha512: the field has left-overs of the data, and of memory.
    """
    cdef checksum_fn function
    if generation == "oldest":
        function = oldest_function(name)
    elif generation == "legacy" and name == "sha512":
        function = legacy_sha512_field
    else:
        function = finished_function(name)
    return None if function == NULL else PyCapsule_New(<void *>function, CHECKSUM_CAPSULE, NULL)
