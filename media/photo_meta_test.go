package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What each format carries comes out byte for byte, but for the thumbnail and
// the provenance tag.
func TestMetadataKept(t *testing.T) {
	for _, format := range []string{"jpeg", "png", "webp", "tiff"} {
		t.Run(format, func(t *testing.T) {
			path := makePhoto(t, format, 64, 48, 3, 8, 6, smooth(64, 48, 3))
			p := mustOpen(t, path)
			if p.Width != 48 || p.Height != 64 || p.Orientation != 6 {
				t.Fatalf("opened as %+v", p.Info)
			}
			icc, err := srgbProfile()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []SaveOptions{{}, {Provenance: true}} {
				out := mustSave(t, p, o)
				b := mustRead(t, out)
				kept := map[string]string{"make": "ACME Cams", "maker note": "NOTE", "XMP": `dc:rights="mine &amp; yours"`}
				switch format {
				case "jpeg":
					kept["IPTC"], kept["comment"], kept["density"] = "Hi\x00", "a comment", "JFIF\x00\x01\x02\x01\x01\x2c\x01\x2c"
				case "png":
					kept["resolution"], kept["text"] = "pHYs\x00\x00\x2e\x23", "Comment\x00behind"
				case "tiff":
					kept["IPTC"] = "Hi"
				case "webp":
					kept["unknown chunk"] = "abcd\x03\x00\x00\x00odd"
				}
				for what, s := range kept {
					if !bytes.Contains(b, []byte(s)) {
						t.Errorf("%s is gone", what)
					}
				}
				if got, err := blob(meta(t, out).kind, b, "icc-profile-data"); err != nil || !bytes.Equal(got, icc) {
					t.Errorf("profile changed: %v", err)
				}
				if bytes.Contains(b, []byte("tttttttt")) {
					t.Error("old thumbnail is still there")
				}
				h, err := readHeader(meta(t, out).kind, b)
				if err != nil || h.width != 64 || h.height != 48 {
					t.Errorf("stored as %d×%d (%v)", h.width, h.height, err)
				}
				x, err := blob(meta(t, out).kind, b, "xmp-data") // as libvips finds it
				if err != nil || bytes.Contains(x, []byte(DigitalSource)) != o.Provenance {
					t.Errorf("provenance %t, want %t (%v)", !o.Provenance, o.Provenance, err)
				}
				if !o.Provenance && !bytes.Equal(bytes.TrimRight(x, "\x00"), []byte(testXMP)) {
					t.Errorf("XMP changed to %q", x)
				}
			}
		})
	}
}

func TestProvenanceWithoutMetadata(t *testing.T) {
	for _, path := range []string{stdJPEG(t, 80), stdPNG(t)} {
		out := mustSave(t, mustOpen(t, path), SaveOptions{Provenance: true})
		s := meta(t, out)
		if x, err := scanXMP(s.carrier.xmp()); err != nil || x.value != DigitalSource {
			t.Errorf("%s: %+v, %v", path, x, err)
		}
		if again := mustSave(t, mustOpen(t, out), SaveOptions{Provenance: true}); !bytes.Equal(meta(t, again).carrier.xmp(), s.carrier.xmp()) {
			t.Error("the tag was added twice")
		}
	}
}

// stdJPEG is a 4:2:0 JPEG by the standard library, which uses libjpeg's tables.
func stdJPEG(t testing.TB, q int) string {
	t.Helper()
	var b bytes.Buffer
	img := image.NewNRGBA(image.Rect(0, 0, 90, 70))
	copy(img.Pix, smooth(90, 70, 4))
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 255
	}
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: q}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "std.jpg")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func stdPNG(t testing.TB) string {
	t.Helper()
	return stripPNG(t, makePhoto(t, "png", 8, 8, 3, 8, 1, noise(192, 1)))
}

// stripPNG removes all metadata.
func stripPNG(t testing.TB, path string) string {
	t.Helper()
	b := []byte(pngMagic)
	err := walkPNG(mustRead(t, path), func(typ string, _, whole []byte) error {
		if pngCoding[typ] {
			b = append(b, whole...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestJPEGQualityKept(t *testing.T) {
	for q := 10; q <= 100; q += 5 {
		p := mustOpen(t, stdJPEG(t, q))
		if got := p.src.carrier.(*jpegFile).quality; got != q {
			t.Errorf("quality %d taken for %d", q, got)
		}
		out := mustSave(t, p, SaveOptions{})
		j := meta(t, out).carrier.(*jpegFile)
		if want := max(q, MinJPEGQuality); j.quality != want {
			t.Errorf("quality %d written as %d", q, j.quality)
		}
		img, err := jpeg.Decode(bytes.NewReader(mustRead(t, out)))
		if err != nil {
			t.Fatal(err)
		}
		if r := img.(*image.YCbCr).SubsampleRatio; r != image.YCbCrSubsampleRatio444 {
			t.Errorf("subsampled %v", r)
		}
	}
}

func TestJPEGProgressiveAndGrayKept(t *testing.T) {
	for _, bands := range []int{1, 3} {
		path := makePhoto(t, "jpeg", 64, 48, bands, 8, 1, smooth(64, 48, bands))
		s := meta(t, path)
		j := s.carrier.(*jpegFile)
		j.progressive = true
		p := mustOpen(t, path)
		p.src.carrier = j
		out := mustSave(t, p, SaveOptions{})
		q := meta(t, out)
		if got := q.carrier.(*jpegFile); !got.progressive || q.Bands != bands {
			t.Errorf("progressive %t, %d bands", got.progressive, q.Bands)
		}
	}
}

// A second picture behind the first stays, and the index still finds it.
func TestJPEGMultiPicture(t *testing.T) {
	path := makePhoto(t, "jpeg", 64, 48, 3, 8, 1, smooth(64, 48, 3))
	b := mustRead(t, path)
	mpf := []byte(sigMPF + "II*\x00\x08\x00\x00\x00\x01\x00\x02\xb0\x07\x00\x20\x00\x00\x00\x1a\x00\x00\x00\x00\x00\x00\x00")
	mpf = append(mpf, make([]byte, 32)...)
	base := 2 + 4 + len(sigMPF)
	primary := len(b) + 4 + len(mpf)
	entry := mpf[len(sigMPF)+26:]
	binary.LittleEndian.PutUint32(entry[4:], uint32(primary))
	binary.LittleEndian.PutUint32(entry[16+8:], uint32(primary-base))
	head := []byte{0xff, 0xd8, 0xff, 0xe2, 0, byte(len(mpf) + 2)}
	second := "\xff\xd8second picture\xff\xd9"
	whole := append(append(append(head, mpf...), b[2:]...), second...)
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	p := mustOpen(t, path)
	if len(p.Notes) != 1 {
		t.Errorf("notes: %q", p.Notes)
	}
	p.src.carrier.(*jpegFile).quality = 97 // another size than before
	got := mustRead(t, mustSave(t, p, SaveOptions{Provenance: true}))
	at := bytes.Index(got, []byte(sigMPF)) + len(sigMPF)
	e := got[at+26:]
	if size := binary.LittleEndian.Uint32(e[4:]); int(size) != len(got)-len(second) {
		t.Errorf("first picture: %d bytes in the index, %d in the file", size, len(got)-len(second))
	}
	if off := at + int(binary.LittleEndian.Uint32(e[24:])); off >= len(got) || string(got[off:]) != second {
		t.Error("second picture isn't where the index says")
	}
}

func TestCMYK(t *testing.T) {
	p := mustOpen(t, "testdata/cmyk.jpg") // 0 % cyan, 78 % magenta and yellow, 8 % black
	if p.Bands != 3 || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "CMYK") {
		t.Fatalf("opened as %+v", p.Info)
	}
	c := p.Image.(*image.NRGBA).NRGBAAt(16, 16)
	if c.R < 180 || c.G > 110 || c.B > 110 || c.A != 255 {
		t.Errorf("red became %v", c)
	}
	q := mustOpen(t, mustSave(t, p, SaveOptions{}))
	d := q.Image.(*image.NRGBA).NRGBAAt(16, 16)
	if q.Bands != 3 || far(c, d) > 6 {
		t.Errorf("saved as %v, was %v", d, c)
	}
	if icc, err := blob(kindJPEG, mustRead(t, q.Path), "icc-profile-data"); err != nil || len(icc) == 0 {
		t.Errorf("no sRGB profile: %v", err)
	}
}

func far(a, b color.NRGBA) int {
	return max(abs(int(a.R)-int(b.R)), abs(int(a.G)-int(b.G)), abs(int(a.B)-int(b.B)))
}

// HEIC and AVIF are made here where Debian's encoders are installed, at least
// one of which comes with libvips.
func TestHEIF(t *testing.T) {
	made := 0
	for name, c := range map[string]struct {
		compression, bands, depth int
		want                      string
	}{
		"heic": {1, 3, 8, ".heic.jpg"}, "avif": {4, 3, 8, ".avif.jpg"}, "alpha.avif": {4, 4, 8, ".avif.png"}, "deep.heic": {1, 3, 16, ".heic.png"},
	} {
		path := filepath.Join(t.TempDir(), "a."+name)
		pix := smooth(64, 64, c.bands*c.depth/8)
		e := encoding{kind: kindHEIF, bands: c.bands, orientation: 1, quality: 80, compression: c.compression}
		err := encode(context.Background(), pixels{pix, 64, 64, c.bands, c.depth / 8}, e, func(b []byte) error { return os.WriteFile(path, b, 0o644) })
		if err != nil {
			t.Logf("%s isn't written here: %v", name, err)
			continue
		}
		made++
		p := mustOpen(t, path)
		if p.Width != 64 || p.Bands != c.bands || p.Depth != c.depth {
			t.Errorf("%s opened as %+v", name, p.Info)
		}
		out := mustSave(t, p, SaveOptions{Provenance: true})
		q := mustOpen(t, out)
		if !strings.HasSuffix(out, c.want) || q.Depth != p.Depth || q.Bands != p.Bands || len(p.Notes) != 1 {
			t.Errorf("%s saved as %s, %+v", name, out, q.Info)
		}
		if b := mustRead(t, path); len(b) > 0 {
			if err := os.WriteFile(path, b[:len(b)*2/3], 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenPhoto(t.Context(), path, Options{}); err == nil {
				t.Errorf("%s: truncated, yet opened", name)
			}
		}
	}
	if made == 0 {
		t.Error("neither HEIC nor AVIF could be made")
	}
}

func TestEXIFHelpers(t *testing.T) {
	for o := 1; o <= 8; o++ {
		b := exifBlock(o)
		if got := exifOrientation(b); got != o {
			t.Errorf("orientation %d read as %d", o, got)
		}
		short := dropThumbnail(bytes.Clone(b))
		if len(short) != 128 || exifOrientation(short) != o {
			t.Errorf("thumbnail: %d bytes left", len(short))
		}
		if setUpright(b); exifOrientation(b) != 1 {
			t.Error("not set upright")
		}
	}
}

// Gray with alpha stays so, whatever the edit painted.
func TestGrayAlphaEdited(t *testing.T) {
	for _, depth := range []int{8, 16} {
		p := mustOpen(t, makePhoto(t, "png", 9, 7, 2, depth, 8, noise(9*7*2*depth/8, 1)))
		switch m := p.Image.(type) {
		case *image.NRGBA:
			m.SetNRGBA(2, 3, color.NRGBA{200, 100, 50, 77})
		case *image.NRGBA64:
			m.SetNRGBA64(2, 3, color.NRGBA64{200 << 8, 100 << 8, 50 << 8, 77 << 8})
		}
		q := mustOpen(t, mustSave(t, p, SaveOptions{}))
		c := color.NRGBAModel.Convert(q.Image.At(2, 3)).(color.NRGBA)
		if q.Bands != 2 || c.R != c.B || abs(int(c.R)-124) > 1 || c.A != 77 {
			t.Errorf("%d bits: %d bands, %v", depth, q.Bands, c)
		}
	}
}

func TestNamesAndPaths(t *testing.T) {
	for name, want := range map[string]bool{"a.JPG": true, "b/c.heic": true, "x.tiff": true, "x.gif": false, "x.mp4": false, "jpg": false, ".jpg": true} {
		if IsPhotoName(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
	p := &Photo{Info: Info{Format: "heic"}, src: &source{carrier: &jpegFile{}}}
	for in, want := range map[string]string{"a.HEIC": "a.HEIC.jpg", "a.jpg": "a.jpg", "a.jpeg": "a.jpeg"} {
		if got := p.OutputPath(in); got != want {
			t.Errorf("%s → %s", in, got)
		}
	}
}
