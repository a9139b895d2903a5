// Another implementation of logs against ours: golang.org/x/mod/sumdb/{note,tlog}.
//
//	main check DIR   reads a log that we published into DIR, and verifies all of it
//	main write DIR   writes a log of its own into the empty DIR, always the same one
//
// The layout is that of SPEC section 22.3, with keys.txt and proofs.json beside it.  x/mod knows no cosignatures; the
// verifier and signer of them are below, from C2SP tlog-cosignature, and plug into its package note.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height    = 8
	writeSize = 300
	writeTime = 1800000000
)

type inclusion struct {
	Index int64       `json:"index"`
	Size  int64       `json:"size"`
	Path  []tlog.Hash `json:"path"`
}

type consistency struct {
	Old   int64       `json:"old"`
	Size  int64       `json:"size"`
	Proof []tlog.Hash `json:"proof"`
}

type proofs struct {
	Roots       map[string]tlog.Hash `json:"roots"`
	Inclusion   []inclusion          `json:"inclusion"`
	Consistency []consistency        `json:"consistency"`
}

func main() {
	if len(os.Args) != 3 {
		fail(errors.New("say check DIR, or write DIR"))
	}
	switch os.Args[1] {
	case "check":
		fail(check(os.Args[2]))
	case "write":
		fail(write(os.Args[2]))
	default:
		fail(fmt.Errorf("%q is neither check nor write", os.Args[1]))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Reading

func check(dir string) error {
	keys, err := os.ReadFile(filepath.Join(dir, "keys.txt"))
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(keys), "\n"), "\n")
	if len(lines) != 2 {
		return errors.New("keys.txt: want the log's and the witness's")
	}
	log, err := note.NewVerifier(lines[0])
	if err != nil {
		return fmt.Errorf("key of the log: %v", err)
	}
	witness, err := newCosigner(lines[1])
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint.cosigned"))
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(data, log, log, witness)
	if err != nil {
		return fmt.Errorf("checkpoint: %v", err)
	}
	entries, err := checkFiles(dir, tree)
	if err != nil {
		return err
	}
	hashes, err := stored(entries)
	if err != nil {
		return err
	}
	counted, err := checkProofs(dir, tree, entries, hashes)
	if err != nil {
		return err
	}
	if err := checkProofFile(dir, log); err != nil {
		return fmt.Errorf("entry.tlog-proof: %v", err)
	}
	fmt.Printf("go read %d entries, their tiles and %d proofs\n", len(entries), counted)
	return nil
}

// openCheckpoint returns the tree of a note that every one of want has signed.
func openCheckpoint(data []byte, log note.Verifier, want ...note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(data, note.VerifierList(want...))
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(opened.Sigs) != len(want) {
		return tlog.Tree{}, fmt.Errorf("%d of %d signatures", len(opened.Sigs), len(want))
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != log.Name() || lines[3] != "" {
		return tlog.Tree{}, errors.New("not three lines, or of another origin")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// tileName is a name of C2SP, which has no height in it.
func tileName(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
}

func bundleName(tile tlog.Tile) string {
	return strings.Replace(tileName(tile), "tile/0/", "tile/entries/", 1)
}

// tilesOf are the tiles of a tree of this size; NewTiles of older x/mod has those of all smaller trees too.
func tilesOf(size int64) []tlog.Tile {
	var tiles []tlog.Tile
	for _, tile := range tlog.NewTiles(height, 0, size) {
		if tile.W == 1<<height || int64(tile.W) == size>>(height*tile.L)%(1<<height) {
			tiles = append(tiles, tile)
		}
	}
	return tiles
}

type folder struct{ dir string }

func (f folder) Height() int                                { return height }
func (f folder) SaveTiles(tiles []tlog.Tile, data [][]byte) {}
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(f.dir, tileName(tile)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// checkFiles verifies that there are exactly the tiles and bundles of the tree, and returns the entries.
func checkFiles(dir string, tree tlog.Tree) ([][]byte, error) {
	var want []string
	var entries [][]byte
	for _, tile := range tilesOf(tree.N) {
		want = append(want, tileName(tile))
		data, err := os.ReadFile(filepath.Join(dir, tileName(tile)))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", tileName(tile), len(data))
		}
		if tile.L != 0 {
			continue
		}
		want = append(want, bundleName(tile))
		some, err := readBundle(filepath.Join(dir, bundleName(tile)), tile.W)
		if err != nil {
			return nil, err
		}
		entries = append(entries, some...)
	}
	if err := checkNames(dir, want); err != nil {
		return nil, err
	}
	reader := tlog.TileHashReader(tree, folder{dir})
	for index, entry := range entries {
		found, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
		if err != nil {
			return nil, fmt.Errorf("tiles: %v", err)
		}
		if found[0] != tlog.RecordHash(entry) {
			return nil, fmt.Errorf("entry %d is not the one of the tile", index)
		}
	}
	return entries, nil
}

func readBundle(path string, count int) ([][]byte, error) {
	data, err := os.ReadFile(path)
	var entries [][]byte
	for err == nil && len(data) > 0 {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s is cut", path)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	if err == nil && len(entries) != count {
		err = fmt.Errorf("%s has %d entries", path, len(entries))
	}
	return entries, err
}

func checkNames(dir string, want []string) error {
	var found []string
	err := filepath.Walk(filepath.Join(dir, "tile"), func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			name, _ := filepath.Rel(dir, path)
			found = append(found, filepath.ToSlash(name))
		}
		return err
	})
	sort.Strings(found)
	sort.Strings(want)
	if err == nil && strings.Join(found, "\n") != strings.Join(want, "\n") {
		err = fmt.Errorf("files %v, want %v", found, want)
	}
	return err
}

// stored returns the hashes of the log as package tlog keeps them.
func stored(entries [][]byte) (hashList, error) {
	var hashes hashList
	for index, entry := range entries {
		more, err := tlog.StoredHashes(int64(index), entry, hashes)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, more...)
	}
	return hashes, nil
}

type hashList []tlog.Hash

func (h hashList) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		if index < 0 || index >= int64(len(h)) {
			return nil, fmt.Errorf("no hash %d", index)
		}
		found = append(found, h[index])
	}
	return found, nil
}

func checkProofs(dir string, tree tlog.Tree, entries [][]byte, hashes hashList) (int, error) {
	data, err := os.ReadFile(filepath.Join(dir, "proofs.json"))
	if err != nil {
		return 0, err
	}
	var all proofs
	if err := json.Unmarshal(data, &all); err != nil {
		return 0, err
	}
	root := func(size int64) tlog.Hash { return all.Roots[strconv.FormatInt(size, 10)] }
	for text, found := range all.Roots {
		size, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		want, err := tlog.TreeHash(size, hashes)
		if err != nil || want != found {
			return 0, fmt.Errorf("root of %d entries: %v, want %v (%v)", size, found, want, err)
		}
	}
	if root(tree.N) != tree.Hash {
		return 0, errors.New("the checkpoint has another root")
	}
	for _, one := range all.Inclusion {
		leaf := tlog.RecordHash(entries[one.Index])
		if err := tlog.CheckRecord(one.Path, one.Size, root(one.Size), one.Index, leaf); err != nil {
			return 0, fmt.Errorf("inclusion of %d in %d: %v", one.Index, one.Size, err)
		}
	}
	for _, one := range all.Consistency {
		if err := tlog.CheckTree(one.Proof, one.Size, root(one.Size), one.Old, root(one.Old)); err != nil {
			return 0, fmt.Errorf("consistency of %d with %d: %v", one.Old, one.Size, err)
		}
	}
	return len(all.Inclusion) + len(all.Consistency), nil
}

// checkProofFile reads a file of C2SP tlog-proof, whose extra data is the entry.
func checkProofFile(dir string, log note.Verifier) error {
	data, err := os.ReadFile(filepath.Join(dir, "entry.tlog-proof"))
	if err != nil {
		return err
	}
	at := bytes.Index(data, []byte("\n\n"))
	if at < 0 {
		return errors.New("no empty line")
	}
	lines := strings.Split(string(data[:at]), "\n")
	if len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("another format")
	}
	entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var path tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		path = append(path, hash)
	}
	tree, err := openCheckpoint(data[at+2:], log, log)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(entry))
}

// Writing

func write(dir string) error {
	var entries [][]byte
	for index := 0; index < writeSize; index++ {
		entries = append(entries, []byte(fmt.Sprintf("entry %d, written by Go%s", index, strings.Repeat("!", index%7))))
	}
	hashes, err := stored(entries)
	if err != nil {
		return err
	}
	for _, tile := range tilesOf(writeSize) {
		data, err := tlog.ReadTileData(tile, hashes)
		if err != nil {
			return err
		}
		if err := put(dir, tileName(tile), data); err != nil {
			return err
		}
		if tile.L == 0 {
			first := int(tile.N) << height
			if err := put(dir, bundleName(tile), bundle(entries[first:first+tile.W])); err != nil {
				return err
			}
		}
	}
	if err := writeProofs(dir, hashes); err != nil {
		return err
	}
	return writeNotes(dir, hashes)
}

func put(dir, name string, data []byte) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func bundle(entries [][]byte) []byte {
	var out bytes.Buffer
	for _, entry := range entries {
		binary.Write(&out, binary.BigEndian, uint16(len(entry)))
		out.Write(entry)
	}
	return out.Bytes()
}

func writeProofs(dir string, hashes hashList) error {
	sizes := []int64{1, 2, 3, 7, 8, 9, 31, 255, 256, 257, writeSize}
	all := proofs{Roots: map[string]tlog.Hash{}}
	for _, size := range sizes {
		root, err := tlog.TreeHash(size, hashes)
		if err != nil {
			return err
		}
		all.Roots[strconv.FormatInt(size, 10)] = root
		for _, old := range sizes {
			if old > size {
				break
			}
			proof, err := tlog.ProveTree(size, old, hashes)
			if err != nil {
				return err
			}
			all.Consistency = append(all.Consistency, consistency{old, size, append([]tlog.Hash{}, proof...)})
			path, err := tlog.ProveRecord(size, old-1, hashes)
			if err != nil {
				return err
			}
			all.Inclusion = append(all.Inclusion, inclusion{old - 1, size, append([]tlog.Hash{}, path...)})
		}
	}
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return put(dir, "proofs.json", append(data, '\n'))
}

func writeNotes(dir string, hashes hashList) error {
	root, err := tlog.TreeHash(writeSize, hashes)
	if err != nil {
		return err
	}
	log, logKey, err := newSigner("lungs.example/log/go", 1)
	if err != nil {
		return err
	}
	stranger, _, err := newSigner("stranger.example/log", 2)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", log.Name(), writeSize, root)
	signed, err := note.Sign(&note.Note{Text: text}, log)
	if err != nil {
		return err
	}
	witness := cosigner{name: "lungs.example/witness/go", private: ed25519.NewKeyFromSeed(seed(3))}
	witness.public = witness.private.Public().(ed25519.PublicKey)
	cosigned, err := note.Sign(&note.Note{Text: text}, log, stranger, witness)
	if err != nil {
		return err
	}
	if err := put(dir, "checkpoint", signed); err != nil {
		return err
	}
	if err := put(dir, "checkpoint.cosigned", cosigned); err != nil {
		return err
	}
	return put(dir, "keys.txt", []byte(logKey+"\n"+witness.vkey()+"\n"))
}

func seed(number byte) []byte { return bytes.Repeat([]byte{number}, ed25519.SeedSize) }

// newSigner goes through the written forms of keys that package note has.
func newSigner(name string, number byte) (note.Signer, string, error) {
	private := ed25519.NewKeyFromSeed(seed(number))
	vkey, err := note.NewEd25519VerifierKey(name, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, "", err
	}
	secret := base64.StdEncoding.EncodeToString(append([]byte{1}, seed(number)...))
	signer, err := note.NewSigner("PRIVATE+KEY+" + strings.Join(strings.SplitN(vkey, "+", 3)[:2], "+") + "+" + secret)
	return signer, vkey, err
}

// Cosignatures

const (
	cosignerType = 4
	timeSize     = 8
)

type cosigner struct {
	name    string
	public  ed25519.PublicKey
	private ed25519.PrivateKey
}

func newCosigner(vkey string) (cosigner, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return cosigner{}, errors.New("key of the witness: not NAME+KEYID+BASE64")
	}
	typed, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(typed) != 1+ed25519.PublicKeySize || typed[0] != cosignerType {
		return cosigner{}, errors.New("key of the witness: of another type")
	}
	made := cosigner{name: parts[0], public: typed[1:]}
	if made.vkey() != vkey {
		return cosigner{}, errors.New("key of the witness: wrong id")
	}
	return made, nil
}

func (c cosigner) typed() []byte { return append([]byte{cosignerType}, c.public...) }

func (c cosigner) vkey() string {
	return fmt.Sprintf("%s+%08x+%s", c.name, c.KeyHash(), base64.StdEncoding.EncodeToString(c.typed()))
}

func (c cosigner) Name() string { return c.name }

func (c cosigner) KeyHash() uint32 {
	sum := sha256.Sum256(append([]byte(c.name+"\n"), c.typed()...))
	return binary.BigEndian.Uint32(sum[:])
}

func (c cosigner) message(at uint64, text []byte) []byte {
	return append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", at)), text...)
}

func (c cosigner) Sign(text []byte) ([]byte, error) {
	stamp := make([]byte, timeSize)
	binary.BigEndian.PutUint64(stamp, writeTime)
	return append(stamp, ed25519.Sign(c.private, c.message(writeTime, text))...), nil
}

func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != timeSize+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(signature)
	return at < 1<<63 && ed25519.Verify(c.public, c.message(at, text), signature[timeSize:])
}
