package media

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

// Errors that a caller may want to tell apart with errors.Is. Each comes
// wrapped with the file's name, the stage that failed and the reason.
var (
	ErrNotPhoto    = errors.New("not a photo")
	ErrUnsupported = errors.New("unsupported kind of file")
	ErrTooLarge    = errors.New("too large")
	ErrDamaged     = errors.New("damaged or incomplete")
	ErrExists      = errors.New("destination exists already")
)

// Limits on inputs. MaxPixelsLimit keeps an uncompressed 16-bit RGBA file
// under 2 GiB, the most that libvips' encoders may hold in memory.
const (
	DefaultMaxPixels = 250_000_000
	MaxPixelsLimit   = 260_000_000
	maxFileSize      = 2 << 30
)

// Options of OpenPhoto and Probe.
type Options struct {
	// MaxPixels is the most width × height accepted, looked up in the header
	// before anything is allocated. 0: DefaultMaxPixels. Over MaxPixelsLimit: an error.
	MaxPixels int64
}

// Info is what a photo's header says. Width and Height are as displayed.
type Info struct {
	Format      string // "jpeg", "png", "tiff", "webp", "bmp", "heic" or "avif"
	Width       int    // pixels, upright
	Height      int    // pixels, upright
	Depth       int    // bits per sample of Photo.Image: 8 or 16
	Bands       int    // 1 gray, 2 gray+alpha, 3 RGB, 4 RGBA; CMYK counts as the RGB it becomes
	HasAlpha    bool
	Orientation int      // EXIF: 1 to 8
	Notes       []string // what differs, or will differ, from the source; for the report
}

// Photo is an opened photo. It holds Go memory only.
type Photo struct {
	Info
	Path string
	// Image is *image.Gray, *image.Gray16, *image.NRGBA or *image.NRGBA64,
	// upright, bounds from (0,0), in the file's own colour space. Gray with
	// alpha is NRGBA with R = G = B.
	Image image.Image

	src  *source
	stat fs.FileInfo
}

// source is a file's content short of its pixels.
type source struct {
	Info
	kind    int // for libvips; unused for BMP
	cmyk    bool
	bmp     *bmpFile
	carrier carrier
}

// carrier keeps all of a file but its pixels, and writes it around new ones.
type carrier interface {
	orientation() int
	xmp() []byte // the XMP packet; nil if there is none
	// encoding tells how the new pixels are to be encoded, but for bands and orientation.
	encoding() encoding
	// write writes a whole file from pixels as libvips encoded them, which it may change.
	write(w io.Writer, encoded []byte, p patch) error
}

// patch replaces metadata; nil leaves what is there.
type patch struct {
	xmp, icc []byte
}

var photoNames = map[string]bool{
	".jpg": true, ".jpeg": true, ".jpe": true, ".jfif": true, ".png": true, ".tif": true, ".tiff": true,
	".webp": true, ".bmp": true, ".dib": true, ".heic": true, ".heif": true, ".hif": true, ".avif": true,
}

// IsPhotoName tells whether a path ends like a photo's. Only OpenPhoto knows.
func IsPhotoName(path string) bool {
	return photoNames[strings.ToLower(filepath.Ext(path))]
}

// OpenPhoto reads and decodes a photo. Errors name the file, the stage (open,
// read, header, decode) and the reason, and wrap one of this package's errors,
// one of io/fs, or ctx's. A truncated or damaged file is an error, never a
// picture with a gray rest.
func OpenPhoto(ctx context.Context, path string, o Options) (*Photo, error) {
	src, b, st, err := read(path, o)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	p := &Photo{Info: src.Info, Path: path, src: src, stat: st}
	if src.bmp != nil {
		p.Image = src.bmp.decode(b)
		return p, nil
	}
	bands := 4
	if src.Bands == 1 {
		bands = 1
	}
	img, pix := newImage(src.Width, src.Height, bands, src.Depth)
	try := func(strict bool) error {
		return decode(ctx, src.kind, b, pix, src.Width, src.Height, bands, src.Depth, src.Orientation, src.cmyk, strict)
	}
	strict := src.kind == kindJPEG
	err = try(strict)
	if err != nil && strict && harmless(err.Error()) {
		p.note("the decoder warned: " + err.Error())
		err = try(false)
	}
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w: %w", path, ErrDamaged, err)
	}
	p.Image = img
	return p, nil
}

// harmless tells libjpeg's warnings about sloppy but complete files (libjpeg's
// jerror.h) from those about lost pixels. A few stray bytes at the end of the
// picture are common; many, or before a restart marker, are pixels.
func harmless(reason string) bool {
	if m := strayBytes.FindStringSubmatch(reason); m != nil {
		return len(m[1]) <= 2 && m[2] == "d9"
	}
	return strings.Contains(reason, "Unknown Adobe color transform") || strings.Contains(reason, "unknown JFIF revision")
}

var strayBytes = regexp.MustCompile(`(\d+) extraneous bytes before marker 0x(..)`)

func (i *Info) note(s string) { i.Notes = append(i.Notes, s) }

// read reads a file whole and inspects it. The bytes are not kept by source.
func read(path string, o Options) (*source, []byte, fs.FileInfo, error) {
	if err := running(); err != nil {
		return nil, nil, nil, err
	}
	limit := o.MaxPixels
	if limit == 0 {
		limit = DefaultMaxPixels
	}
	if limit < 0 || limit > MaxPixelsLimit {
		return nil, nil, nil, fmt.Errorf("media: MaxPixels %d isn't within 1..%d", limit, MaxPixelsLimit)
	}
	f, err := openRegular(path)
	if err != nil {
		return nil, nil, nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("open %s: %w", path, err)
	}
	head := make([]byte, 64)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	format, err := sniff(head[:n])
	if err != nil {
		return nil, nil, nil, fmt.Errorf("recognise %s: %w", path, err)
	}
	if st.Size() > maxFileSize {
		return nil, nil, nil, fmt.Errorf("read %s: %w: %d bytes, at most %d", path, ErrTooLarge, st.Size(), maxFileSize)
	}
	b := make([]byte, st.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	src, err := inspect(format, b, limit)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("header of %s: %w", path, err)
	}
	return src, b, st, nil
}

// inspect reads all of a file but its pixels.
func inspect(format string, b []byte, limit int64) (*source, error) {
	s := &source{Info: Info{Format: format, Orientation: 1}}
	var err error
	if format == "bmp" {
		if s.bmp, err = parseBMP(b, limit); err != nil {
			return nil, err
		}
		s.Info = s.bmp.info()
		return s, nil
	}
	s.kind = map[string]int{"jpeg": kindJPEG, "png": kindPNG, "tiff": kindTIFF, "webp": kindWebP, "heic": kindHEIF, "avif": kindHEIF}[format]
	switch format { // before libvips looks, which takes a camera's raw file for a TIFF
	case "tiff":
		s.carrier, err = parseTIFF(b, &s.Info)
	case "webp":
		s.carrier, err = parseWebP(b)
	}
	if err != nil {
		return nil, err
	}
	h, err := readHeader(s.kind, b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if int64(h.width)*int64(h.height) > limit {
		return nil, fmt.Errorf("%w: %d×%d pixels, at most %d in all", ErrTooLarge, h.width, h.height, limit)
	}
	if err := s.colours(h); err != nil {
		return nil, err
	}
	switch format {
	case "jpeg":
		s.carrier, err = parseJPEG(b, s)
	case "png":
		s.carrier, err = parsePNG(b, &s.Info)
	case "heic", "avif":
		s.carrier, err = parseHEIF(b, h, &s.Info)
	}
	if err != nil {
		return nil, err
	}
	s.Width, s.Height = h.width, h.height
	if s.Orientation = s.carrier.orientation(); s.Orientation >= 5 {
		s.Width, s.Height = h.height, h.width
	}
	return s, nil
}

// colours decides what the pixels become, from what libvips says of them.
func (s *source) colours(h header) error {
	s.Depth, s.Bands = h.depth, h.bands
	if h.depth == 0 {
		return fmt.Errorf("%w: samples that aren't unsigned 8- or 16-bit integers", ErrUnsupported)
	}
	switch {
	case h.interp == interpCMYK && h.bands == 4:
		s.cmyk, s.Bands = true, 3
		s.note("CMYK converted to sRGB by its profile")
	case (h.interp == interpBW || h.interp == interpGray6) && h.bands <= 2:
	case (h.interp == interpSRGB || h.interp == interpRGB || h.interp == interpRGB16) && (h.bands == 3 || h.bands == 4):
	default:
		return fmt.Errorf("%w: %d channels in a colour space that is neither gray, RGB nor CMYK", ErrUnsupported, h.bands)
	}
	s.HasAlpha = s.Bands == 2 || s.Bands == 4
	return nil
}

// sniff recognises a format by a file's first bytes (64 are enough).
func sniff(b []byte) (string, error) {
	s := string(b)
	switch {
	case strings.HasPrefix(s, "\xff\xd8\xff"):
		return "jpeg", nil
	case strings.HasPrefix(s, "\x89PNG\r\n\x1a\n"):
		return "png", nil
	case strings.HasPrefix(s, "II*\x00"), strings.HasPrefix(s, "MM\x00*"), strings.HasPrefix(s, "II+\x00"), strings.HasPrefix(s, "MM\x00+"):
		return "tiff", nil
	case len(s) >= 16 && s[:4] == "RIFF" && s[8:12] == "WEBP":
		return "webp", nil
	case len(s) >= 26 && s[:2] == "BM" && bmpHeaders[int(s[14])|int(s[15])<<8] && s[16] == 0 && s[17] == 0:
		return "bmp", nil
	case len(s) >= 16 && s[4:8] == "ftyp":
		return sniffHEIF(b)
	case strings.HasPrefix(s, "GIF87a"), strings.HasPrefix(s, "GIF89a"):
		return "", fmt.Errorf("%w: GIF", ErrUnsupported)
	}
	return "", ErrNotPhoto
}

// sniffHEIF tells still pictures in an ISO container from videos and sequences.
func sniffHEIF(b []byte) (string, error) {
	n := min(len(b), int(uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3])))
	format := ""
	for i := 8; i+4 <= n; i += 4 {
		switch string(b[i : i+4]) {
		case "avis", "hevc", "hevx", "msf1":
			if i == 8 {
				return "", fmt.Errorf("%w: animated HEIC or AVIF", ErrUnsupported)
			}
		case "avif":
			format = "avif"
		case "heic", "heix", "heim", "heis":
			format = "heic"
		case "mif1":
			if format == "" {
				format = "heic"
			}
		}
	}
	if format == "" {
		return "", ErrNotPhoto
	}
	return format, nil
}
