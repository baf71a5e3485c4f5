package media

import (
	"bytes"
	"strings"
	"testing"
)

const (
	xmpOpen  = `<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">`
	xmpClose = `</rdf:RDF></x:xmpmeta>`
	iptc     = ` xmlns:q="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"`
	camra    = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
)

func TestAddProvenance(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		cut  string // what goes
		want string // what must stand there
	}{
		"plain":             {in: testXMP, want: `rdf:about=""`},
		"about":             {in: xmpOpen + `<rdf:Description rdf:about="uuid:1&amp;2"/>` + xmpClose, want: `about="uuid:1&amp;2" xmlns:Iptc4xmpExt`},
		"empty RDF":         {in: `<r:RDF xmlns:r="` + nsRDF + `"/>`, cut: "/>", want: "</r:RDF>"},
		"other prefix":      {in: `<R:RDF xmlns:R="` + nsRDF + `"><R:Description R:about=""/></R:RDF>`, want: "</R:Description></R:RDF>"},
		"attribute":         {in: xmpOpen + `<rdf:Description rdf:about=""` + iptc + ` q:DigitalSourceType='` + camra + `' a="b"/>` + xmpClose, cut: camra, want: `q:DigitalSourceType='` + DigitalSource + `' a="b"/>`},
		"element":           {in: xmpOpen + `<rdf:Description rdf:about=""` + iptc + `><q:DigitalSourceType>` + camra + `</q:DigitalSourceType></rdf:Description>` + xmpClose, cut: camra, want: `<q:DigitalSourceType>` + DigitalSource + `</q:DigitalSourceType>`},
		"resource":          {in: xmpOpen + `<rdf:Description rdf:about=""` + iptc + `><q:DigitalSourceType rdf:resource="` + camra + `"/></rdf:Description>` + xmpClose, cut: ` rdf:resource="` + camra + `"/>`, want: DigitalSource},
		"nested isn't ours": {in: xmpOpen + `<rdf:Description rdf:about=""` + iptc + ` xmlns:h="h"><h:old rdf:parseType="Resource"><q:DigitalSourceType>` + camra + `</q:DigitalSourceType></h:old></rdf:Description>` + xmpClose, want: camra},
		"trailing zeros":    {in: testXMP + "\x00\x00", want: "\x00\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := addProvenance([]byte(c.in), 0)
			if err != nil {
				t.Fatal(err)
			}
			if s, err := scanXMP(out); err != nil || s.value != DigitalSource {
				t.Errorf("reads back as %+v, %v", s, err)
			}
			if !strings.Contains(string(out), c.want) {
				t.Errorf("no %s in %s", c.want, out)
			}
			checkKept(t, c.in, string(out), c.cut)
		})
	}
}

// checkKept: without cut, in must be a subsequence of out made of a head and a tail.
func checkKept(t *testing.T, in, out, cut string) {
	t.Helper()
	var head, tail string
	if cut != "" {
		i := strings.Index(in, cut)
		head, tail = in[:i], in[i+len(cut):]
	} else {
		n := 0
		for n < len(in) && in[n] == out[n] {
			n++
		}
		head, tail = in[:n], in[n:]
	}
	if !strings.HasPrefix(out, head) || !strings.HasSuffix(out, tail) {
		t.Errorf("something was lost:\n%s\n%s", in, out)
	}
}

func TestAddProvenanceRefuses(t *testing.T) {
	whole := xmpOpen + `<rdf:Description` + iptc + ` rdf:about="" q:DigitalSourceType="` + whollyMade + `"/>` + xmpClose
	if out, err := addProvenance([]byte(whole), 0); err != nil || string(out) != whole {
		t.Errorf("a wholly made photo: %v", err)
	}
	for _, in := range []string{"", "x", xmpOpen, xmpOpen + "<a></b>" + xmpClose, "\xff\xfe<\x00x\x00", `<a>&nope;</a>`, `<RDF xmlns="` + nsRDF + `"></RDF>`} {
		if out, err := addProvenance([]byte(in), 0); err == nil {
			t.Errorf("%q became %q", in, out)
		}
	}
	padded := strings.Replace(testXMP, "<?xpacket end", strings.Repeat(" ", 4000)+"<?xpacket end", 1)
	if out, err := addProvenance([]byte(padded), len(padded)); err != nil || len(out) > len(padded) {
		t.Errorf("padding isn't used: %d bytes, %v", len(out), err)
	}
	if _, err := addProvenance([]byte(testXMP), len(testXMP)); err == nil {
		t.Error("the limit isn't kept")
	}
}

// A packet that can't be changed stays, with a note. Extended XMP stays too.
func TestOddXMPKept(t *testing.T) {
	for _, packet := range []string{"<broken", strings.Replace(testXMP, "mine", strings.Repeat("m", maxXMPseg-len(testXMP)), 1)} {
		path := makePhoto(t, "jpeg", 32, 32, 3, 8, 1, smooth(32, 32, 3))
		p := mustOpen(t, path)
		j := p.src.carrier.(*jpegFile)
		j.oldXMP = []byte(packet)
		extended := segment{0xe1, []byte("http://ns.adobe.com/xmp/extension/\x00GUID…")}
		for i, s := range j.segs {
			if s.has(0xe1, sigXMP) {
				j.segs[i].b = append([]byte(sigXMP), packet...)
			}
		}
		j.segs = append(j.segs, extended)
		i, err := p.Save(t.Context(), t.TempDir()+"/a.jpg", p.Image, SaveOptions{Provenance: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(i.Notes) != 1 || !strings.Contains(i.Notes[0], "no provenance tag") {
			t.Errorf("notes: %q", i.Notes)
		}
		b := mustRead(t, i.Path)
		if !bytes.Contains(b, []byte(packet)) || !bytes.Contains(b, extended.b) {
			t.Error("XMP was lost")
		}
	}
}

func FuzzAddProvenance(f *testing.F) {
	for _, s := range []string{freshXMP, testXMP, "", "<a/>", xmpOpen + `<rdf:Description rdf:about=""` + iptc + ` q:DigitalSourceType='` + camra + `'/>` + xmpClose, `<r:RDF xmlns:r="` + nsRDF + `"/>`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := addProvenance(b, 0)
		if err != nil {
			return
		}
		s, err := scanXMP(out)
		if err != nil || s.value != DigitalSource && s.value != whollyMade {
			t.Fatalf("%q became %q: %+v %v", b, out, s, err)
		}
		again, err := addProvenance(out, 0)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("twice isn't once: %q, %q", out, again)
		}
	})
}

func FuzzJPEGQuality(f *testing.F) {
	f.Add([]byte{})
	f.Add(append([]byte{0}, make([]byte, 64)...))
	f.Add(append([]byte{0x11}, make([]byte, 128)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q := jpegQuality(b); q < 1 || q > 100 {
			t.Fatalf("quality %d", q)
		}
	})
}

// FuzzContainers feeds the parsers that read foreign bytes in Go.
func FuzzContainers(f *testing.F) {
	for _, s := range []string{"jpeg", "png", "webp", "tiff"} {
		f.Add(mustRead(f, makePhoto(f, s, 4, 3, 3, 8, 6, noise(36, 1))))
	}
	f.Add(exifBlock(3))
	f.Add(append([]byte("BM\x00\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x18\x00"), make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = sniff(b)
		s := &source{}
		if len(b) > 2 {
			_, _ = parseJPEG(b, s)
		}
		_, _ = parsePNG(b, &s.Info)
		_, _ = parseWebP(b)
		if p, err := parseTIFF(bytes.Clone(b), &s.Info); err == nil {
			w := tiffWriter{order: p.order}
			w.directory(p.entries)
		}
		if p, err := parseBMP(b, 1<<16); err == nil {
			p.decode(b)
		}
		x := bytes.Clone(b)
		moveMPF(x, 1, 1)
		x = dropThumbnail(x)
		setUpright(x)
	})
}
