package dnssynology

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Limits of what DSM exports.
const (
	maxZip     = 1 << 20 // bytes
	maxZipped  = 32      // files in it
	maxListed  = 1000    // certificates in DSM's list
	maxExports = 16      // in one look
)

// webCaller is what export needs of the Web API's client.
type webCaller interface {
	call(ctx context.Context, api, method string, params map[string]any, out any) error
	download(ctx context.Context, api, method string, params map[string]any) ([]byte, error)
	close(ctx context.Context) error
}

// export gets certificates through DSM's Web API. SYNO.Core.Certificate.CRT lists
// what there is; only what is newer than what is served leaves DSM, since a
// private key comes with it.
type export struct {
	api     webCaller
	url     string
	domains []string              // canonical
	had     map[listedKey][]*pair // what entries of the list turned out to be
	again   map[listedKey]bool    // entries whose last export was not all that is listed
}

// listed is an entry of DSM's list. Field names are as seen in public code.
type listed struct {
	ID        string `json:"id"`
	IsBroken  bool   `json:"is_broken"`
	ValidFrom string `json:"valid_from"` // "Nov  1 23:59:59 2026 GMT"
	ValidTill string `json:"valid_till"`
	ValidTo   string `json:"valid_to"` // instead of valid_till, in older versions
	Subject   struct {
		CommonName string   `json:"common_name"`
		AltNames   []string `json:"sub_alt_name"`
	} `json:"subject"`
}

// listedKey changes when a certificate is renewed, in its place or in another.
type listedKey struct {
	id       string
	from, to int64 // seconds since 1970
}

// entry is a listed certificate as it is understood.
type entry struct {
	key   listedKey
	names []string // those that are wanted
}

func newExport(api webCaller, url string, domains []string) *export {
	e := &export{api: api, url: url, had: map[listedKey][]*pair{}}
	for _, d := range domains {
		e.domains = append(e.domains, canonicalName(d))
	}
	return e
}

// changes never has a value: DSM tells nobody.
func (e *export) changes() <-chan struct{} { return nil }

func (e *export) pace() (first, most, patience time.Duration) {
	return time.Minute, time.Hour, 0
}

func (e *export) close(ctx context.Context) error { return e.api.close(ctx) }

// look asks for the list, and exports what is new in it. What was exported
// before and is still listed is found again without a request.
func (e *export) look(ctx context.Context, served func(string) *pair) reading {
	var list struct {
		Certificates []listed `json:"certificates"`
	}
	if err := e.api.call(ctx, "SYNO.Core.Certificate.CRT", "list", nil, &list); err != nil {
		return reading{problems: []problem{{where: e.url, err: fmt.Errorf("listing certificates: %w", err)}}}
	}
	r := reading{complete: true}
	if len(list.Certificates) > maxListed {
		r.problems = append(r.problems, problem{where: e.url, err: fmt.Errorf("more than %d certificates are listed: the rest is not looked at", maxListed)})
		list.Certificates = list.Certificates[:maxListed]
	}
	var entries []entry
	for _, c := range list.Certificates {
		names := e.wanted(c)
		if len(names) == 0 {
			continue
		}
		key, err := c.key()
		if err == nil && c.IsBroken {
			err = errors.New("DSM says that this certificate is broken")
		}
		if err != nil {
			r.problems = append(r.problems, problem{where: e.url + " certificate " + c.ID, names: names, err: err})
			continue
		}
		entries = append(entries, entry{key, names})
	}
	// The newest first: then older ones for the same names can stay where they are.
	slices.SortStableFunc(entries, func(x, y entry) int {
		return cmp.Or(cmp.Compare(y.key.from, x.key.from), cmp.Compare(y.key.to, x.key.to), strings.Compare(x.key.id, y.key.id))
	})
	current, again := map[listedKey][]*pair{}, map[listedKey]bool{}
	exports := 0
	now := time.Now()
	for _, entry := range entries {
		if had := e.had[entry.key]; had != nil {
			current[entry.key] = had
			r.pairs = append(r.pairs, had...)
			continue
		}
		if !newer(entry, e.again[entry.key], served, r.pairs, now) {
			continue
		}
		if exports++; exports > maxExports {
			r.problems = append(r.problems, problem{where: e.url, err: fmt.Errorf("more than %d new certificates: the rest follows", maxExports)})
			maps.Copy(again, e.again)
			break
		}
		pairs, err := e.fetch(ctx, entry.key.id)
		r.pairs = append(r.pairs, pairs...)
		if err == nil && !slices.ContainsFunc(pairs, entry.key.isOf) {
			err = errors.New("the exported certificate has other dates than the listed one: it is being renewed, as a rule")
		}
		if err != nil {
			r.problems = append(r.problems, problem{where: e.url + " certificate " + entry.key.id, names: entry.names, err: err})
			again[entry.key] = true // at the next look
			continue
		}
		current[entry.key] = pairs
	}
	e.had, e.again = current, again
	return r
}

// isOf tells whether a pair has the dates of the entry.
func (k listedKey) isOf(p *pair) bool {
	return p.cert.Leaf.NotBefore.Unix() == k.from && p.cert.Leaf.NotAfter.Unix() == k.to
}

// newer tells whether an entry is newer, for one of its names, than what is
// served and what was exported just now; or as new, if it is to be exported again.
func newer(e entry, again bool, served func(string) *pair, exported []*pair, now time.Time) bool {
	from := e.key.from
	if again {
		from++
	}
	return slices.ContainsFunc(e.names, func(name string) bool {
		rivals := slices.DeleteFunc(slices.Clone(exported), func(p *pair) bool { return !p.covers(name) })
		if p := served(name); p != nil {
			rivals = append(rivals, p)
		}
		return !slices.ContainsFunc(rivals, func(p *pair) bool {
			return p.grade(now) == bestGrade && p.cert.Leaf.NotBefore.Unix() >= from || p.cert.Leaf.NotAfter.Unix() > e.key.to && e.key.to < now.Unix()
		})
	})
}

// wanted returns the names of a certificate that are to be served, in lower case.
func (e *export) wanted(c listed) []string {
	var names []string
	for _, name := range append(slices.Clip(c.Subject.AltNames), c.Subject.CommonName) {
		name = canonicalName(name)
		switch {
		case name == "" || slices.Contains(names, name):
		case len(e.domains) == 0:
			names = append(names, name)
		default:
			for _, d := range e.domains {
				if matches(name, d) && !slices.Contains(names, d) {
					names = append(names, d)
				} else if matches(d, name) && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// key reads the dates of an entry.
func (c listed) key() (listedKey, error) {
	const layout = "Jan _2 15:04:05 2006 MST"
	from, err := time.Parse(layout, c.ValidFrom)
	if err != nil {
		return listedKey{}, fmt.Errorf("valid_from is no date: %.60q", c.ValidFrom)
	}
	till := cmp.Or(c.ValidTill, c.ValidTo)
	to, err := time.Parse(layout, till)
	if err != nil {
		return listedKey{}, fmt.Errorf("valid_till is no date: %.60q", till)
	}
	return listedKey{c.ID, from.Unix(), to.Unix()}, nil
}

// fetch exports a certificate with its chain and key.
func (e *export) fetch(ctx context.Context, id string) ([]*pair, error) {
	data, err := e.api.download(ctx, "SYNO.Core.Certificate", "export", map[string]any{"id": id, "file": "archive"})
	if err != nil {
		return nil, fmt.Errorf("exporting: %w", err)
	}
	files, err := unzip(data)
	if err != nil {
		return nil, fmt.Errorf("exporting: %w", err)
	}
	pairs, err := pairsIn(e.url+" certificate "+id, files)
	if err == nil && len(pairs) == 0 {
		err = fmt.Errorf("neither %s nor %s is in the exported archive", certFile, keyFile)
	}
	return pairs, err
}

// unzip returns the files of use in an exported archive, by name without a
// folder. It never unpacks more than the files' limits.
func unzip(data []byte) (map[string][]byte, error) {
	if len(data) > maxZip {
		return nil, fmt.Errorf("the archive has more than %d bytes", maxZip)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("what came is no ZIP archive: %w", err)
	}
	if len(z.File) > maxZipped {
		return nil, fmt.Errorf("the archive has more than %d files", maxZipped)
	}
	files := map[string][]byte{}
	for _, f := range z.File {
		name := path.Base(strings.ReplaceAll(f.Name, `\`, "/"))
		limit := int64(maxPEMFile)
		switch plain := strings.TrimPrefix(strings.TrimPrefix(name, "ECC-"), "RSA-"); plain {
		case keyFile:
			limit = maxKeyFile
		case certFile, chainFile, fullchainFile:
		default:
			continue
		}
		if !f.Mode().IsRegular() {
			return nil, fmt.Errorf("%.40s in the archive is no file", name)
		}
		if files[name] != nil {
			return nil, fmt.Errorf("%.40s is twice in the archive", name)
		}
		if files[name], err = unzipFile(f, limit); err != nil {
			return nil, fmt.Errorf("%.40s in the archive: %w", name, err)
		}
	}
	return files, nil
}

func unzipFile(f *zip.File, limit int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return data, err
}
