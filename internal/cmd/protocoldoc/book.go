package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A place is a declaration: a function, method, type, variable or constant.
type place struct {
	// File is the path from the module's root.
	File string
	// Name is as declared: f, or T.f for a method.
	Name string
}

// A row is one rule.
type row struct {
	ID string
	// Built: the rule is claimed to be kept, so it must have a place and a test.
	Built  bool
	Places []place
	Rule   string
}

// A section is a list of rows on one subject.
type section struct {
	Title string
	Rows  []row
}

// A box is one of Figure 2's, or a mechanism of the dissertation that has a file
// of its own.
type box struct {
	Title  string
	Places []place
	// Rows are the rules that make the box; their tests in raft are its tests.
	Rows []string
}

// A book is all that the document speaks of.
type book struct {
	Sections []section
	Boxes    []box
	// Later are the rules that have a name and are not built yet.
	Later []string
}

// rowName is how a rule is named: EL-06, B-5.
var rowName = regexp.MustCompile(`^(?:(?:EL|RP|CM|PS|MB|SN|CS|RD|LT|FC|TM|MG|SF|PX)-\d\d|B-[1-9]\d?)$`)

// parseBook reads rows.txt and boxes.txt. In the first, a line is
//
//	== section
//	row | built or open | places | rule
//	later row row..row
//
// and in the second
//
//	box | places | rows
//
// Places are file:name, separated by commas. Empty lines and those that begin
// with // are left out.
func parseBook(rows, boxes string) (book, error) {
	var b book
	for number, line := range lines(rows) {
		if title, ok := strings.CutPrefix(line, "== "); ok {
			b.Sections = append(b.Sections, section{Title: title})
			continue
		}
		if list, ok := strings.CutPrefix(line, "later "); ok {
			names, err := parseNames(list)
			if err != nil {
				return book{}, fmt.Errorf("rows.txt:%d: %w", number, err)
			}
			b.Later = append(b.Later, names...)
			continue
		}
		fields, err := split(line, 4)
		if err != nil {
			return book{}, fmt.Errorf("rows.txt:%d: %w", number, err)
		}
		places, err := parsePlaces(fields[2])
		if err != nil {
			return book{}, fmt.Errorf("rows.txt:%d: %w", number, err)
		}
		switch {
		case len(b.Sections) == 0:
			return book{}, fmt.Errorf("rows.txt:%d: a row before the first section", number)
		case !rowName.MatchString(fields[0]):
			return book{}, fmt.Errorf("rows.txt:%d: %q is not the name of a row", number, fields[0])
		case fields[1] != "built" && fields[1] != "open":
			return book{}, fmt.Errorf("rows.txt:%d: %q is neither built nor open", number, fields[1])
		case fields[3] == "":
			return book{}, fmt.Errorf("rows.txt:%d: %s says no rule", number, fields[0])
		case b.row(fields[0]) != nil:
			return book{}, fmt.Errorf("rows.txt:%d: %s twice", number, fields[0])
		}
		last := &b.Sections[len(b.Sections)-1]
		last.Rows = append(last.Rows, row{ID: fields[0], Built: fields[1] == "built", Places: places, Rule: fields[3]})
	}
	for number, line := range lines(boxes) {
		fields, err := split(line, 3)
		if err != nil {
			return book{}, fmt.Errorf("boxes.txt:%d: %w", number, err)
		}
		places, err := parsePlaces(fields[1])
		if err != nil {
			return book{}, fmt.Errorf("boxes.txt:%d: %w", number, err)
		}
		names, err := parseNames(fields[2])
		if err != nil {
			return book{}, fmt.Errorf("boxes.txt:%d: %w", number, err)
		}
		b.Boxes = append(b.Boxes, box{Title: fields[0], Places: places, Rows: names})
	}
	return b, nil
}

// row finds a rule by its name; nil if there is none.
func (b *book) row(id string) *row {
	for s := range b.Sections {
		for r := range b.Sections[s].Rows {
			if b.Sections[s].Rows[r].ID == id {
				return &b.Sections[s].Rows[r]
			}
		}
	}
	return nil
}

// knows reports whether a rule of that name exists, built or to come.
func (b *book) knows(id string) bool {
	return b.row(id) != nil || slices.Contains(b.Later, id)
}

// lines gives the lines that count, with their numbers from 1.
func lines(text string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		number := 0
		for line := range strings.Lines(text) {
			number++
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "//") {
				continue
			}
			if !yield(number, line) {
				return
			}
		}
	}
}

// split cuts a line into exactly n fields at its bars.
func split(line string, n int) ([]string, error) {
	fields := strings.Split(line, "|")
	if len(fields) != n {
		return nil, fmt.Errorf("%d fields, want %d: %q", len(fields), n, line)
	}
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	return fields, nil
}

// parsePlaces reads "file:name, file:name".
func parsePlaces(text string) ([]place, error) {
	var places []place
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		file, name, ok := strings.Cut(item, ":")
		if !ok || file == "" || name == "" {
			return nil, fmt.Errorf("%q is not file:name", item)
		}
		places = append(places, place{File: file, Name: name})
	}
	return places, nil
}

// parseNames reads "EL-06 EL-10..EL-12".
func parseNames(text string) ([]string, error) {
	var names []string
	for _, item := range strings.Fields(text) {
		first, last, isRange := strings.Cut(item, "..")
		if !isRange {
			last = first
		}
		if !rowName.MatchString(first) || !rowName.MatchString(last) {
			return nil, fmt.Errorf("%q does not name rows", item)
		}
		area, from, _ := strings.Cut(first, "-")
		otherArea, to, _ := strings.Cut(last, "-")
		low, _ := strconv.Atoi(from)
		high, _ := strconv.Atoi(to)
		if area != otherArea || low > high {
			return nil, fmt.Errorf("%q is not a range of rows", item)
		}
		for n := low; n <= high; n++ {
			names = append(names, fmt.Sprintf("%s-%0*d", area, len(from), n))
		}
	}
	return names, nil
}
