package media

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// DigitalSource is the IPTC term for a photo of which a part was made by a
// trained model; it marks every restored photo unless switched off.
const DigitalSource = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

// A photo made by a model altogether says so already, and more.
const whollyMade = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

const (
	nsIPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
	nsRDF  = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
)

const freshXMP = "<?xpacket begin=\"\ufeff\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n" +
	`<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="` + nsRDF + `"></rdf:RDF></x:xmpmeta>` +
	"\n<?xpacket end=\"w\"?>"

// addProvenance returns an XMP packet with DigitalSourceType set, and all else
// as it was, byte for byte; nil makes a new packet. A packet that can't be
// understood, or wouldn't fit into limit bytes (0: any), is an error.
func addProvenance(packet []byte, limit int) ([]byte, error) {
	if packet == nil {
		packet = []byte(freshXMP)
	}
	s, err := scanXMP(packet)
	if err != nil {
		return nil, err
	}
	if s.value == DigitalSource || s.value == whollyMade {
		return packet, nil
	}
	var out []byte
	switch {
	case s.attrTo > 0: // written as an attribute
		out = splice(packet, s.attrFrom, s.attrTo, DigitalSource)
	case s.elemTo > 0:
		out = splice(packet, s.elemFrom, s.elemTo, fmt.Sprintf("<%s>%s</%s>", s.elem, DigitalSource, s.elem))
	default:
		var about strings.Builder
		if err := xml.EscapeText(&about, []byte(s.about)); err != nil {
			return nil, err
		}
		p := s.prefix
		add := fmt.Sprintf(`<%sDescription %sabout="%s" xmlns:Iptc4xmpExt="%s"><Iptc4xmpExt:DigitalSourceType>%s</Iptc4xmpExt:DigitalSourceType></%sDescription>`,
			p, p, about.String(), nsIPTC, DigitalSource, p)
		if s.empty { // <rdf:RDF …/>
			add = ">" + add + "</" + p + "RDF>"
		}
		out = splice(packet, s.endFrom, s.endTo, add)
	}
	if limit > 0 && len(out) > limit {
		out = xmpPadding.ReplaceAll(out, []byte("\n$1"))
		if len(out) > limit {
			return nil, fmt.Errorf("the XMP packet would have %d bytes, at most %d fit", len(out), limit)
		}
	}
	if again, err := scanXMP(out); err != nil || again.value != DigitalSource {
		return nil, errors.New("the XMP packet has an unusual form")
	}
	return out, nil
}

// xmpPadding is the room that writers leave for edits in place.
var xmpPadding = regexp.MustCompile(`[ \t\r\n]+(<\?xpacket end=)`)

// sourceAttr matches the property written as an attribute; group 1 is the value.
var sourceAttr = regexp.MustCompile(`[\s]([^\s:="'<>/]+:)DigitalSourceType\s*=\s*(?:"([^"]*)"|'([^']*)')`)

func splice(b []byte, from, to int, s string) []byte {
	out := append(make([]byte, 0, len(b)+len(s)), b[:from]...)
	return append(append(out, s...), b[to:]...)
}

// xmpScan says where in a packet things are; offsets in bytes.
type xmpScan struct {
	value            string // of DigitalSourceType
	attrFrom, attrTo int    // its value, if written as an attribute
	elem             string // its name as written, if written as an element
	elemFrom, elemTo int    // that element
	prefix           string // of RDF's namespace with its colon
	about            string // of the first rdf:Description
	endFrom, endTo   int    // where a new Description goes: replaces nothing, or the "/>" of an empty RDF
	empty            bool
}

// scanXMP parses a packet in UTF-8.
func scanXMP(b []byte) (*xmpScan, error) {
	s := &xmpScan{}
	dec := xml.NewDecoder(bytes.NewReader(bytes.TrimRight(b, "\x00")))
	var stack []xml.Name
	seenRDF, seenDesc, ended := false, false, false
	desc := xml.Name{Space: nsRDF, Local: "Description"}
	rdf := xml.Name{Space: nsRDF, Local: "RDF"}
	prop := xml.Name{Space: nsIPTC, Local: "DigitalSourceType"}
	for {
		from := int(dec.InputOffset())
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("the XMP packet is malformed: %w", err)
		}
		to := int(dec.InputOffset())
		inDesc := len(stack) >= 2 && stack[len(stack)-1] == desc && stack[len(stack)-2] == rdf
		switch e := tok.(type) {
		case xml.StartElement:
			switch {
			case e.Name == rdf && !seenRDF:
				seenRDF = true
				name := rawName(b[from:to])
				s.prefix = strings.TrimSuffix(name, "RDF")
				s.empty = b[to-2] == '/'
				s.endFrom, s.endTo = to-2, to
			case e.Name == desc && len(stack) > 0 && stack[len(stack)-1] == rdf && !ended:
				s.description(e, b[from:to], from, !seenDesc)
				seenDesc = true
			case e.Name == prop && inDesc && s.elem == "":
				s.elem, s.elemFrom = rawName(b[from:to]), from
				s.value = attr(e, nsRDF, "resource")
			}
			stack = append(stack, e.Name)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
			if e.Name == prop && s.elem != "" && s.elemTo == 0 {
				s.elemTo = to
			}
			if e.Name == rdf && !ended {
				ended = true
				if !s.empty {
					s.endFrom, s.endTo = from, from
				}
			}
		case xml.CharData:
			if s.elem != "" && s.elemTo == 0 && len(stack) > 0 && stack[len(stack)-1] == prop {
				s.value += string(e)
			}
		}
	}
	s.value = strings.TrimSpace(s.value)
	if !ended {
		return nil, errors.New("the XMP packet is malformed: no rdf:RDF")
	}
	if s.prefix == "" {
		return nil, errors.New("the XMP packet has an unusual form: RDF without a prefix")
	}
	return s, nil
}

// description looks at a rdf:Description's attributes.
func (s *xmpScan) description(e xml.StartElement, raw []byte, from int, first bool) {
	if first {
		s.about = attr(e, nsRDF, "about")
	}
	v := attr(e, nsIPTC, "DigitalSourceType")
	if v == "" || s.attrTo > 0 {
		return
	}
	if m := sourceAttr.FindSubmatchIndex(raw); m != nil {
		i := 4
		if m[4] < 0 {
			i = 6
		}
		s.value, s.attrFrom, s.attrTo = v, from+m[i], from+m[i+1]
	}
}

func attr(e xml.StartElement, space, local string) string {
	for _, a := range e.Attr {
		if a.Name.Space == space && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// rawName is an element's name as its start tag writes it.
func rawName(tag []byte) string {
	s := strings.TrimPrefix(string(tag), "<")
	if i := strings.IndexAny(s, " \t\r\n/>"); i >= 0 {
		s = s[:i]
	}
	return s
}
