// Copyright (c) 2026, the lightbox.pacs maintainers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// What Debian 13's Orthanc lacks and newer ones have. The dynamic linker loads this before all other libraries (LD_PRELOAD in the image), so that
// Orthanc and its libraries call the functions below, which call those that they replace. Programs without these libraries are not changed.

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <istream>
#include <string>
#include <vector>

#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dcpixseq.h>
#include <dcmtk/dcmdata/dcpxitem.h>
#include <dcmtk/dcmdata/dcsequen.h>
#include <dcmtk/dcmimgle/dcmimage.h>
#include <dcmtk/dcmimgle/dipixel.h>

#include <gdcm-3.0/gdcmBitmap.h> // what is used of it is inline: nothing is linked

namespace
{
  const std::size_t STACK = 8 << 20; // bytes, as every other thread of Orthanc has
  // Sequences in each other: the limit of DCMTK 3.7.1 and Orthanc 1.13.0; and a lower one, as GDCM's time to write implicit VR doubles with each level.
  const unsigned LEVELS = 64;
  const unsigned LEVELS_OF_GDCM = 16;

  // The function that a library replaced here: of those that all share.
  template <typename Function> Function replaced(const char *name)
  {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
  }

  // The function that the caller was linked with: of the caller's own library or of those that it needs.
  template <typename Function> Function linked(const char *name, void *caller)
  {
    Dl_info library;
    void *found = NULL;
    void *handle = dladdr(caller, &library) ? dlopen(library.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    if (handle)
    {
      found = dlsym(handle, name);
      dlclose(handle); // the caller keeps it
    }
    return found ? reinterpret_cast<Function>(found) : replaced<Function>(name);
  }

  struct Level
  {
    unsigned &depth;
    explicit Level(unsigned &depth) : depth(depth) { ++depth; }
    ~Level() { --depth; }
  };
}

// civetweb 1.16 decodes the query of a URL only when told; Orthanc relies on it, and tells it since 1.12.10.
extern "C" struct mg_context *mg_start(const void *callbacks, void *data, const char **options)
{
  std::vector<const char *> all;
  bool decodes = false;
  for (; options && options[0] && options[1]; options += 2)
  {
    all.insert(all.end(), options, options + 2);
    decodes = decodes || std::strcmp(options[0], "decode_query_string") == 0;
  }
  if (!decodes)
  {
    all.push_back("decode_query_string");
    all.push_back("yes");
  }
  all.push_back(NULL);
  return replaced<decltype(&mg_start)>("mg_start")(callbacks, data, all.data());
}

// civetweb gives its threads 100 KiB: too little for GDCM, and for nested JSON and sequences.
extern "C" int pthread_attr_setstacksize(pthread_attr_t *attributes, std::size_t size) noexcept
{
  static const auto original = replaced<decltype(&pthread_attr_setstacksize)>("pthread_attr_setstacksize");
  return original(attributes, size < STACK ? STACK : size);
}

// Whoever reads an image from Orthanc's cache keeps the cache until the index answers; whoever deletes with SQLite keeps the index until the cache is free.
// When these two meet, Orthanc hangs for ever. Threads that wait for each other are found here, and for one of them the lock fails: Boost makes that an
// exception, and the request is answered with an error. A thread that merely waits long is not in such a circle.
namespace
{
  struct Waiting
  {
    pid_t thread;
    pthread_mutex_t *mutex;
    bool may_fail;
  };
  Waiting waiting[1024]; // as many as the container may have threads
  pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;

  struct Table
  {
    Table()
    {
      while (pthread_mutex_trylock(&table) != 0)
      {
        sched_yield();
      }
    }
    ~Table() { pthread_mutex_unlock(&table); }
  };

  Waiting *of(pid_t thread)
  {
    for (Waiting &one : waiting)
    {
      if (one.thread == thread)
      {
        return &one;
      }
    }
    return NULL;
  }

  // A mutex in the table is there: who waits for it leaves the table before going on.
  bool should_fail(const Waiting &self)
  {
    pid_t owner = self.mutex->__data.__owner;
    for (unsigned i = 0; i < 64; ++i)
    {
      if (owner == self.thread)
      {
        return true;
      }
      const Waiting *const other = owner ? of(owner) : NULL;
      // One of the circle is enough: who waits for the index, which is in the heap, not for the cache, in the stack of main(), which is above.
      if (!other || (other->may_fail && other->mutex < self.mutex))
      {
        return false;
      }
      owner = other->mutex->__data.__owner;
    }
    return false;
  }

  // Libraries in C do not look whether a lock has failed: of Orthanc itself only.
  bool of_the_program(void *caller)
  {
    Dl_info one, program;
    return dladdr(caller, &one) && dladdr(reinterpret_cast<void *>(getauxval(AT_ENTRY)), &program) && one.dli_fbase == program.dli_fbase;
  }

  int lock_for_a_moment(pthread_mutex_t *mutex)
  {
    timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 20000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
  }
}

extern "C" int pthread_mutex_lock(pthread_mutex_t *mutex) noexcept
{
  int result = pthread_mutex_trylock(mutex);
  if (result != EBUSY)
  {
    return result;
  }
  static const auto original = replaced<decltype(&pthread_mutex_lock)>("pthread_mutex_lock");
  if (mutex->__data.__kind != PTHREAD_MUTEX_TIMED_NP && mutex->__data.__kind != PTHREAD_MUTEX_RECURSIVE_NP)
  {
    return original(mutex);
  }
  result = lock_for_a_moment(mutex);
  if (result != ETIMEDOUT)
  {
    return result;
  }
  const bool may_fail = of_the_program(__builtin_return_address(0));
  Waiting *self;
  {
    const Table locked;
    self = of(0);
    if (self)
    {
      *self = {gettid(), mutex, may_fail};
    }
  }
  if (!self)
  {
    return original(mutex);
  }
  unsigned found = 0;
  while (result == ETIMEDOUT && found < 2)
  {
    result = lock_for_a_moment(mutex);
    const Table locked;
    found = result == ETIMEDOUT && may_fail && should_fail(*self) ? found + 1 : 0;
  }
  {
    const Table locked;
    self->thread = 0;
  }
  if (result == ETIMEDOUT)
  {
    std::fprintf(stderr, "Threads wait for each other: a request fails\n");
    return EDEADLK;
  }
  return result;
}

// DCMTK reads sequences in sequences by recursion, without a limit before 3.7.1: a file of some kilobytes overruns any stack.
static OFCondition nested_too_deep()
{
  return makeOFCondition(1024, 1, OF_error, "Sequences are nested deeper than 64 levels"); // modules from 1024 are free for use
}

static OFCondition lacks_pixels()
{
  return makeOFCondition(1024, 2, OF_error, "The image has fewer pixels than it says");
}

OFCondition DcmSequenceOfItems::read(DcmInputStream &stream, const E_TransferSyntax syntax, const E_GrpLenEncoding lengths, const Uint32 maximum)
{
  static const auto original = replaced<OFCondition (*)(DcmSequenceOfItems *, DcmInputStream &, E_TransferSyntax, E_GrpLenEncoding, Uint32)>(
    "_ZN18DcmSequenceOfItems4readER14DcmInputStream16E_TransferSyntax16E_GrpLenEncodingj");
  static thread_local unsigned depth = 0;
  const Level level(depth);
  return depth > LEVELS ? nested_too_deep() : original(this, stream, syntax, lengths, maximum);
}

// What is made from JSON: nothing is written that could not be read again.
OFCondition DcmSequenceOfItems::write(DcmOutputStream &stream, const E_TransferSyntax syntax, const E_EncodingType lengths, DcmWriteCache *cache)
{
  static const auto original = replaced<OFCondition (*)(DcmSequenceOfItems *, DcmOutputStream &, E_TransferSyntax, E_EncodingType, DcmWriteCache *)>(
    "_ZN18DcmSequenceOfItems5writeER15DcmOutputStream16E_TransferSyntax14E_EncodingTypeP13DcmWriteCache");
  static thread_local unsigned depth = 0;
  const Level level(depth);
  return depth > LEVELS ? nested_too_deep() : original(this, stream, syntax, lengths, cache);
}

// DCMTK before 3.7.0 pads JPEG-LS of odd length in the memory of the pixels, which may be shorter. It is padded again when it is stored.
extern "C" void _ZN15DJLSEncoderBase21fixPaddingIfNecessaryEPhmRmb(Uint8 *, std::size_t, unsigned long &, OFBool)
{
}

// DCMTK's decoders take the bytes of a fragment that has none. Offset tables are often empty: their length is looked at first.
OFCondition DcmOtherByteOtherWord::getUint8Array(Uint8 *&bytes)
{
  static const auto original = replaced<OFCondition (*)(DcmOtherByteOtherWord *, Uint8 *&)>("_ZN21DcmOtherByteOtherWord13getUint8ArrayERPh");
  const OFCondition result = original(this, bytes);
  return result.good() && !bytes && ident() == EVR_pixelItem ? lacks_pixels() : result;
}

// DCMTK's JPEG-LS takes pixels of as many frames as the image says, although there may be fewer, or none.
extern "C" OFCondition _ZNK15DJLSEncoderBase19compressCookedFrameEP16DcmPixelSequenceP10DicomImageRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERNS4_4listIjSaIjEEERmPK18DJLSCodecParameterjt(
  const void *encoder, void *sequence, DicomImage *image, void *interpretation, void *offsets, unsigned long &size, const void *parameters, Uint32 frame,
  Uint16 deviation)
{
  static const auto original =
    replaced<OFCondition (*)(const void *, void *, DicomImage *, void *, void *, unsigned long &, const void *, Uint32, Uint16)>(
      "_ZNK15DJLSEncoderBase19compressCookedFrameEP16DcmPixelSequenceP10DicomImageRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERNS4_4listIjSaIjEEE"
      "RmPK18DJLSCodecParameterjt");
  const DiPixel *const pixels = image ? image->getInterData() : NULL;
  const void *const data = pixels ? pixels->getData() : NULL;
  bool all = data && pixels->getCount() / (frame + 1) >= image->getWidth() * image->getHeight();
  for (int i = 0; all && pixels->getPlanes() > 1 && i < pixels->getPlanes(); ++i)
  {
    all = static_cast<const void *const *>(data)[i] != NULL;
  }
  return all ? original(encoder, sequence, image, interpretation, offsets, size, parameters, frame, deviation) : lacks_pixels();
}

// GDCM has its own parser, with the same fault. It takes exceptions of its own types for broken files, which it tries to read in other ways.
namespace
{
  struct NestedTooDeep
  {
  };
  thread_local unsigned items = 0;
  typedef std::istream &Read(void *, std::istream &);
}
#define LIMITED(NAME) \
  extern "C" std::istream &NAME(void *item, std::istream &stream) \
  { \
    static Read *const original = linked<Read *>(#NAME, __builtin_return_address(0)); \
    const Level level(items); \
    if (items > LEVELS_OF_GDCM) \
    { \
      throw NestedTooDeep(); \
    } \
    return original(item, stream); \
  }
// gdcm::Item::Read<ELEMENT, gdcm::SwapperNoOp or SwapperDoOp>
#define ELEMENTS(LENGTH_AND_NAME) \
  LIMITED(_ZN4gdcm4Item4ReadINS_##LENGTH_AND_NAME##ENS_11SwapperNoOpEEERSiS4_) \
  LIMITED(_ZN4gdcm4Item4ReadINS_##LENGTH_AND_NAME##ENS_11SwapperDoOpEEERSiS4_)
ELEMENTS(19ExplicitDataElement)
ELEMENTS(19ImplicitDataElement)
ELEMENTS(21UNExplicitDataElement)
ELEMENTS(23VR16ExplicitDataElement)
ELEMENTS(24CP246ExplicitDataElement)
ELEMENTS(27ExplicitImplicitDataElement)

// Debian builds GDCM, OpenJPEG and CharLS with their assertions, which end the process: at JPEG 2000's part 2, for example. What the plugin or DCMTK
// called is left instead, as if it had failed: the image is then refused. What was being made is lost (some memory), which ending would lose, too.
namespace
{
  struct Attempt
  {
    static thread_local Attempt *current;
    Attempt *const outer = current;
    const unsigned depth = items;
    std::jmp_buf failed;
    Attempt() { current = this; }
    ~Attempt() { current = outer, items = depth; }
  };
  thread_local Attempt *Attempt::current = NULL;

  // What is lost adds up. Orthanc without memory answers nothing and nobody starts it again: it had better end, and be started again at once.
  bool memory_is_left()
  {
    unsigned long data = 0;
    rlimit limit;
    std::FILE *const file = std::fopen("/proc/self/statm", "re");
    if (file)
    {
      if (std::fscanf(file, "%*s %*s %*s %*s %*s %lu", &data) != 1) // pages of data and stacks
      {
        data = 0;
      }
      std::fclose(file);
    }
    return getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || data * sysconf(_SC_PAGESIZE) < limit.rlim_cur / 8 * 7;
  }
}

extern "C" void __assert_fail(const char *assertion, const char *file, unsigned line, const char *function) noexcept
{
  if (Attempt::current && memory_is_left())
  {
    std::fprintf(stderr, "Image refused: %s:%u: %s: %s\n", file, line, function, assertion);
    std::longjmp(Attempt::current->failed, 1);
  }
  replaced<decltype(&__assert_fail)>("__assert_fail")(assertion, file, line, function);
  std::abort();
}

#define ATTEMPT(NAME, ARGUMENT) \
  extern "C" bool NAME(void *object ARGUMENT(void *argument)) \
  { \
    static const auto original = linked<bool (*)(void * ARGUMENT(void *))>(#NAME, __builtin_return_address(0)); \
    Attempt attempt; \
    return setjmp(attempt.failed) == 0 && original(object ARGUMENT(argument)); \
  }
#define NONE(ANY)
#define ONE(ANY) , ANY
ATTEMPT(_ZN4gdcm11ImageReader4ReadEv, NONE)
ATTEMPT(_ZN4gdcm11ImageWriter5WriteEv, NONE)
ATTEMPT(_ZN4gdcm18FileExplicitFilter6ChangeEv, NONE)
ATTEMPT(_ZN4gdcm21ImageApplyLookupTable5ApplyEv, NONE)
ATTEMPT(_ZN4gdcm25ImageChangeTransferSyntax6ChangeEv, NONE)
ATTEMPT(_ZN4gdcm30ImageChangePlanarConfiguration6ChangeEv, NONE)
ATTEMPT(_ZN4gdcm36ImageChangePhotometricInterpretation6ChangeEv, NONE)

// GDCM believes what an image says of itself: it divides by numbers that are 0, reads on where pixels end, and counts bytes in 32 bits.
namespace
{
  bool sound(const gdcm::Bitmap &image, void *caller, std::uint64_t &size)
  {
    static const auto dimensions = linked<const unsigned *(*)(const gdcm::Bitmap *)>("_ZNK4gdcm6Bitmap13GetDimensionsEv", caller);
    static const auto length = linked<unsigned long (*)(const gdcm::Bitmap *)>("_ZNK4gdcm6Bitmap15GetBufferLengthEv", caller);
    static const auto samples = linked<unsigned short (*)(const gdcm::PixelFormat *)>("_ZNK4gdcm11PixelFormat18GetSamplesPerPixelEv", caller);
    const gdcm::PixelFormat &format = image.GetPixelFormat();
    const unsigned *const sides = dimensions(&image);
    const std::uint64_t bits = format.GetBitsAllocated();
    const std::uint64_t pixels = std::uint64_t(sides[0]) * sides[1]; // of 16 bits each
    if (!pixels || !sides[2] || sides[2] > UINT32_MAX / pixels || !bits || bits > 64 || format.GetBitsStored() < 1 || format.GetBitsStored() > bits ||
        format.GetHighBit() >= bits || format.GetPixelRepresentation() > 1 || samples(&format) < 1 || samples(&format) > 4)
    {
      return false;
    }
    size = (pixels * sides[2] * samples(&format) * bits + 7) / 8;
    return size <= UINT32_MAX && length(&image) >= size;
  }
}

extern "C" bool _ZNK4gdcm6Bitmap9GetBufferEPc(const gdcm::Bitmap *image, char *buffer)
{
  static const auto original = linked<bool (*)(const gdcm::Bitmap *, char *)>("_ZNK4gdcm6Bitmap9GetBufferEPc", __builtin_return_address(0));
  std::uint64_t size;
  Attempt attempt;
  return setjmp(attempt.failed) == 0 && sound(*image, __builtin_return_address(0), size) && original(image, buffer);
}

#define ENCODER(LENGTH_AND_NAME) \
  extern "C" bool _ZN4gdcm25ImageChangeTransferSyntax##LENGTH_AND_NAME##ERKNS_11DataElementERKNS_6BitmapERS4_( \
    void *change, const gdcm::DataElement &pixels, const gdcm::Bitmap &input, gdcm::Bitmap &output) \
  { \
    static const auto original = linked<bool (*)(void *, const gdcm::DataElement &, const gdcm::Bitmap &, gdcm::Bitmap &)>( \
      "_ZN4gdcm25ImageChangeTransferSyntax" #LENGTH_AND_NAME "ERKNS_11DataElementERKNS_6BitmapERS4_", __builtin_return_address(0)); \
    return encodable(pixels, input, __builtin_return_address(0)) && original(change, pixels, input, output); \
  }
namespace
{
  bool encodable(const gdcm::DataElement &pixels, const gdcm::Bitmap &image, void *caller)
  {
    static const auto bytes = linked<const gdcm::ByteValue *(*)(const gdcm::DataElement *)>("_ZNK4gdcm11DataElement12GetByteValueEv", caller);
    const gdcm::ByteValue *const value = bytes(&pixels);
    std::uint64_t size;
    return value && sound(image, caller, size) && value->GetLength() >= size;
  }
}
ENCODER(11TryRAWCodec)
ENCODER(11TryRLECodec)
ENCODER(12TryJPEGCodec)
ENCODER(14TryJPEGLSCodec)
ENCODER(16TryJPEG2000Codec)

// GDCM and DCMTK each bring their CharLS: the same names with other arguments. Where both are loaded, GDCM calls DCMTK's and crashes. 1 is an error in both.
typedef std::size_t Words(std::size_t, std::size_t, std::size_t, std::size_t, std::size_t, std::size_t, std::size_t, std::size_t);
#define OF_THE_CALLER(NAME) \
  extern "C" std::size_t NAME(std::size_t a, std::size_t b, std::size_t c, std::size_t d, std::size_t e, std::size_t f, std::size_t g, std::size_t h) \
  { \
    Attempt attempt; \
    return setjmp(attempt.failed) ? 1 : linked<Words *>(#NAME, __builtin_return_address(0))(a, b, c, d, e, f, g, h); \
  }
OF_THE_CALLER(JpegLsDecode)
OF_THE_CALLER(JpegLsDecodeRect)
OF_THE_CALLER(JpegLsEncode)
OF_THE_CALLER(JpegLsReadHeader)

// GDCM writes JPEG 2000 into twice the memory that the pixels take, without looking at its end: the headers alone are longer than a small image.
extern "C" bool _ZN4gdcm13JPEG2000Codec19CodeFrameIntoBufferEPcmRmPKcm(
  void *codec, char *written, std::size_t room, std::size_t &length, const char *pixels, std::size_t size)
{
  static const auto original = linked<decltype(&_ZN4gdcm13JPEG2000Codec19CodeFrameIntoBufferEPcmRmPKcm)>(
    "_ZN4gdcm13JPEG2000Codec19CodeFrameIntoBufferEPcmRmPKcm", __builtin_return_address(0));
  return size >= 1024 && original(codec, written, room, length, pixels, size);
}

// GDCM's RLE takes the offsets of more segments than a header has room for, and writes what it makes of a frame's pixels over the frame's end.
namespace
{
  thread_local std::size_t room_of_frame = SIZE_MAX;
}

extern "C" std::size_t _ZN4gdcm8RLECodec14DecodeFragmentERKNS_8FragmentEPcm(void *codec, const void *fragment, char *buffer, std::size_t room)
{
  static const auto original = linked<decltype(&_ZN4gdcm8RLECodec14DecodeFragmentERKNS_8FragmentEPcm)>(
    "_ZN4gdcm8RLECodec14DecodeFragmentERKNS_8FragmentEPcm", __builtin_return_address(0));
  room_of_frame = room;
  const std::size_t length = original(codec, fragment, buffer, room);
  room_of_frame = SIZE_MAX;
  return length;
}

extern "C" bool _ZN4gdcm8RLECodec15DecodeByStreamsERSiRSo(void *codec, std::istream &from, std::ostream &to)
{
  static const auto original = linked<decltype(&_ZN4gdcm8RLECodec15DecodeByStreamsERSiRSo)>(
    "_ZN4gdcm8RLECodec15DecodeByStreamsERSiRSo", __builtin_return_address(0));
  const std::size_t room = room_of_frame; // is left out where an assertion leaves the rest
  room_of_frame = SIZE_MAX;
  unsigned char segments[4] = {};
  const std::istream::pos_type start = from.tellg();
  from.read(reinterpret_cast<char *>(segments), sizeof segments);
  from.seekg(start);
  return from.good() && segments[0] >= 1 && segments[0] <= 15 && !segments[1] && !segments[2] && !segments[3] && original(codec, from, to) &&
         static_cast<std::size_t>(to.tellp()) <= room;
}

// GDCM has OpenJPEG start as many threads for each image as there are processors. They stay where an assertion leaves the image, and their stacks with
// them, until Orthanc has no memory. So they do where a file is broken. Orthanc has threads enough.
extern "C" int opj_codec_set_threads(void *, int)
{
  return 1;
}

// GDCM goes on where OpenJPEG does not take its parameters, as for an image that is one pixel wide.
namespace
{
  thread_local void *not_set_up = NULL;
}

extern "C" int opj_setup_encoder(void *codec, void *parameters, void *image)
{
  static const auto original = linked<decltype(&opj_setup_encoder)>("opj_setup_encoder", __builtin_return_address(0));
  const int done = original(codec, parameters, image);
  not_set_up = done ? NULL : codec;
  return done;
}

extern "C" int opj_start_compress(void *codec, void *image, void *stream)
{
  static const auto original = linked<decltype(&opj_start_compress)>("opj_start_compress", __builtin_return_address(0));
  return codec != not_set_up && original(codec, image, stream);
}

// Orthanc looks for the pixels of each file with a parser of its own, which believes the lengths that the file tells: in the meta header it reads other
// memory, whose bytes the log then holds; behind it, it takes and fills as much memory as the length says. It asks for 144 bytes first, the
// preamble and the header's length. Where the rest does not fit, the file is empty for it: DCMTK alone decides then whether it is stored.
namespace
{
  typedef std::istream &ReadBytes(std::istream &, char *, std::streamsize);
  const std::size_t PREAMBLE = 144;
  const std::size_t LONGEST_META_HEADER = 1 << 20; // real ones have some hundred bytes
  const std::size_t UNDEFINED = 0xffffffff;

  std::size_t number(const char *bytes, unsigned count, bool is_big = false)
  {
    std::size_t value = 0;
    for (unsigned byte = 0; byte < count; ++byte)
    {
      value = value << 8 | static_cast<unsigned char>(bytes[is_big ? byte : count - 1 - byte]);
    }
    return value;
  }

  bool has_short_length(const char *vr)
  {
    const char known[] = "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US";
    for (const char *one = known; one < known + sizeof known - 1; one += 3)
    {
      if (std::memcmp(one, vr, 2) == 0)
      {
        return true;
      }
    }
    return false;
  }

  bool meta_header_fits(const char *header, std::size_t size)
  {
    while (size >= 8)
    {
      const bool is_short = has_short_length(header + 4);
      const std::size_t before = is_short ? 8 : 12;
      const std::size_t length = is_short ? number(header + 6, 2) : size < before ? 0 : number(header + 8, 4);
      if (size < before || size - before < length)
      {
        return false;
      }
      header += before + length;
      size -= before + length;
    }
    return size == 0;
  }

  // As Orthanc goes through them: what has an undefined length is entered, all else is skipped.
  bool elements_fit(std::istream &stream, ReadBytes *read, std::size_t at, std::size_t size, bool is_implicit, bool is_big)
  {
    int depth = 0;
    char head[12] = {};
    while (size - at >= 8)
    {
      stream.seekg(at);
      if (!read(stream, head, size - at < sizeof head ? 8 : sizeof head))
      {
        return false;
      }
      const std::size_t tag = number(head, 2, is_big) << 16 | number(head + 2, 2, is_big);
      const bool is_item = tag >> 16 == 0xfffe;
      const bool is_short = !is_item && !is_implicit && has_short_length(head + 4);
      const std::size_t before = is_item || is_implicit || is_short ? 8 : 12;
      const std::size_t told = is_short ? number(head + 6, 2, is_big) : number(head + before - 4, 4, is_big);
      const std::size_t length = told == UNDEFINED ? 0 : told;
      if (size - at < before || size - at - before < length)
      {
        return false;
      }
      if (tag == 0x7fe00010 && depth == 0)
      {
        return true;
      }
      depth += told == UNDEFINED && !is_item;
      depth -= tag == 0xfffee0dd;
      at += before + length;
    }
    return true;
  }

  bool fits(std::istream &stream, ReadBytes *read, std::size_t length)
  {
    std::vector<char> header(length <= LONGEST_META_HEADER ? length : 0);
    read(stream, header.data(), header.size());
    if (header.size() != length || stream.gcount() != static_cast<std::streamsize>(length) || !meta_header_fits(header.data(), length))
    {
      return false;
    }
    const std::string all(header.begin(), header.end());
    const bool is_implicit = all.find(std::string("\2\0\x10\0UI\x12\0" "1.2.840.10008.1.2\0", 26)) != std::string::npos;
    const bool is_big = all.find(std::string("\2\0\x10\0UI\x14\0" "1.2.840.10008.1.2.2\0", 28)) != std::string::npos;
    stream.seekg(0, std::ios::end);
    return elements_fit(stream, read, PREAMBLE + length, stream.tellg(), is_implicit, is_big);
  }
}

extern "C" std::istream &_ZNSi4readEPcl(std::istream &stream, char *bytes, std::streamsize size)
{
  static ReadBytes *const original = replaced<ReadBytes *>("_ZNSi4readEPcl");
  original(stream, bytes, size);
  if (size != PREAMBLE || stream.gcount() != size || std::memcmp(bytes + 128, "DICM\2\0\0\0UL\4", 12) != 0)
  {
    return stream;
  }
  if (!fits(stream, original, number(bytes + 140, 4)))
  {
    return original(stream, bytes, 0); // none were read
  }
  stream.seekg(0);
  return original(stream, bytes, size);
}

// GDCM leaves OpenJPEG's decoder and the image where a file is broken. What is left is cleared away before the thread makes its next decoder; not what a failed assertion interrupted, which cannot be used.
namespace
{
  thread_local void *decoder = NULL;
  thread_local void *decoded = NULL;
}
#define OF_OPENJPEG(NAME) static const auto original = linked<decltype(&NAME)>(#NAME, __builtin_return_address(0))

extern "C" void opj_destroy_codec(void *codec)
{
  OF_OPENJPEG(opj_destroy_codec);
  decoder = codec == decoder ? NULL : decoder;
  original(codec);
}

extern "C" void opj_image_destroy(void *image)
{
  OF_OPENJPEG(opj_image_destroy);
  decoded = image == decoded ? NULL : decoded;
  original(image);
}

extern "C" void *opj_create_decompress(int format)
{
  OF_OPENJPEG(opj_create_decompress);
  static const auto destroy_codec = linked<void (*)(void *)>("opj_destroy_codec", __builtin_return_address(0));
  static const auto destroy_image = linked<void (*)(void *)>("opj_image_destroy", __builtin_return_address(0));
  destroy_codec(decoder); // or NULL: nothing is done
  destroy_image(decoded);
  decoded = NULL;
  return decoder = original(format);
}

extern "C" int opj_read_header(void *stream, void *codec, void **image)
{
  OF_OPENJPEG(opj_read_header);
  decoder = NULL;
  const int done = original(stream, codec, image);
  decoder = codec;
  decoded = done ? *image : NULL;
  return done;
}

extern "C" int opj_decode(void *codec, void *stream, void *image)
{
  OF_OPENJPEG(opj_decode);
  decoder = decoded = NULL;
  const int done = original(codec, stream, image);
  decoder = codec;
  decoded = image;
  return done;
}
