// Command go-offsets says where members of structures of Go's runtime and standard library, and of grpc-go, lie, by their sources alone: nothing is built.
// For each argument (a folder with a release of Go, or `grpc@RELEASE=FOLDER` with one of grpc-go), a line: the release, and the offsets in the order
// of `members`, a bar and `statistics`, a bar and the sizes of classes of objects, or of `grpcMembers`; -1 for one that is not there.
package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"log"
	"os"
	"path/filepath"
	"strings"
)

// members are package, type and member.
var members = [][3]string{
	{"runtime", "g", "m"},
	{"runtime", "g", "goid"},
	{"runtime", "g", "parentGoid"},
	{"runtime", "m", "curg"},
	{"runtime", "p", "goidcache"},
	{"runtime", "p", "goidcacheend"},
	{"internal/poll", "FD", "Sysfd"},
	{"net", "netFD", "family"},
	{"net", "netFD", "sotype"},
	{"net/http", "persistConn", "conn"},
	{"net/http", "http2ClientConn", "tconn"},
	{"net/http", "http2serverConn", "conn"},
	{"net/http", "http2responseWriterState", "stream"},
	{"net/http", "http2stream", "id"},
}

// statistics are those of what the runtime counts. Alternatives are of different releases; a member within a member stands behind a dot, and `*` is for
// how large the structure is.
var statistics = [][3]string{
	{"runtime", "gcControllerState", "memoryLimit"},
	{"runtime", "gcControllerState", "gcPercentHeapGoal"},
	{"runtime", "gcControllerState", "sweepDistMinTrigger"},
	{"runtime", "gcControllerState", "triggered"},
	{"runtime", "heapStatsDelta", "*"},
	{"runtime", "heapStatsDelta", "committed"},
	{"runtime", "heapStatsDelta", "inStacks"},
	{"runtime", "mstats", "heapStats.stats"},
	{"runtime", "mstats", "stacks_sys"},
	{"runtime", "mstats", "mspan_sys"},
	{"runtime", "mstats", "mcache_sys"},
	{"runtime", "mstats", "buckhash_sys"},
	{"runtime", "mstats", "gcMiscSys"},
	{"runtime", "mstats", "other_sys"},
	{"runtime", "mstats", "last_gc_unix"},
	{"runtime", "mstats", "pause_total_ns"},
	{"runtime", "mstats", "numgc"},
	{"runtime", "mstats", "last_gc_nanotime"},
	{"runtime", "schedt", "nmidle"},
	{"runtime", "schedt", "nmidlelocked"},
	{"runtime", "schedt", "mnext"},
	{"runtime", "schedt", "nmfreed"},
	{"runtime", "schedt", "nmsys"},
	{"runtime", "schedt", "ngsys"},
	{"runtime", "schedt", "gFree.n|gFree.stack.size"},
	{"runtime", "schedt", "gFree.noStack.size"},
	{"runtime", "p", "gFree.n|gFree.size"},
	{"runtime", "consistentHeapStats", "gen"},
	{"runtime", "heapStatsDelta", "largeAlloc"},
	{"runtime", "heapStatsDelta", "largeAllocCount"},
	{"runtime", "heapStatsDelta", "smallAllocCount"},
	{"runtime", "schedt", "stwTotalTimeGC"},
	{"runtime", "mstats", "gcPauseDist"},
	{"runtime", "gcControllerState", "heapFree"},
	{"runtime", "gcControllerState", "totalAlloc"},
	{"runtime", "gcControllerState", "totalFree"},
	{"runtime", "gcControllerState", "mappedReady"},
	{"runtime", "gcControllerState", "heapMarked"},
}

// sizes are where the sizes of classes of small objects are declared, by release.
var sizes = [][2]string{{"internal/runtime/gc/sizeclasses.go", "SizeClassToSize"}, {"runtime/sizeclasses.go", "class_to_size"}}

func main() {
	machine := types.SizesFor("gc", "amd64")
	standard := importer.ForCompiler(token.NewFileSet(), "source", nil)
	for _, root := range os.Args[1:] {
		if grpc, folder, isGrpc := strings.Cut(root, "="); isGrpc {
			fmt.Println(grpc, strings.Trim(fmt.Sprint(grpcOffsets(folder, standard, machine)), "[]"))
			continue
		}
		said, err := os.ReadFile(filepath.Join(root, "VERSION"))
		if err != nil {
			log.Fatal(err)
		}
		version, _, _ := strings.Cut(string(said), "\n")
		build.Default.GOROOT = root
		build.Default.GOOS, build.Default.GOARCH, build.Default.CgoEnabled = "linux", "amd64", false
		packages := importer.ForCompiler(token.NewFileSet(), "source", nil)
		fmt.Print(strings.TrimSpace(version))
		for _, member := range members {
			fmt.Print(" ", offset(packages, machine, member))
		}
		fmt.Print(" |")
		for _, member := range statistics {
			fmt.Print(" ", offset(packages, machine, member))
		}
		fmt.Println(" |", strings.Join(classes(root), " "))
	}
}

// classes are the sizes of classes of small objects.
func classes(root string) (found []string) {
	for _, place := range sizes {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "src", place[0]), nil, parser.SkipObjectResolution)
		if err != nil {
			continue
		}
		ast.Inspect(file, func(node ast.Node) bool {
			value, ok := node.(*ast.ValueSpec)
			if !ok || value.Names[0].Name != place[1] || len(value.Values) != 1 {
				return true
			}
			for _, size := range value.Values[0].(*ast.CompositeLit).Elts {
				found = append(found, size.(*ast.BasicLit).Value)
			}
			return false
		})
	}
	if len(found) == 0 {
		log.Fatalf("%s: no classes of sizes", root)
	}
	return found
}

func offset(packages types.Importer, sizes types.Sizes, member [3]string) int64 {
	of, err := packages.Import(member[0])
	if err != nil {
		log.Fatalf("%v: %v", member, err)
	}
	object := of.Scope().Lookup(member[1])
	if inPackage, ok := strings.CutPrefix(member[1], "http2"); ok && object == nil && member[0] == "net/http" {
		// From 1.27 on it is a package of its own.
		return offset(packages, sizes, [3]string{"net/http/internal/http2", inPackage, member[2]})
	}
	if object == nil {
		return -1
	}
	for _, way := range strings.Split(member[2], "|") {
		if way == "*" {
			return sizes.Sizeof(object.Type())
		}
		if at := offsetOnWay(of, sizes, append([]string{member[1]}, strings.Split(way, ".")...)); at >= 0 {
			return at
		}
	}
	return -1
}

// offsetOf gives where a member lies, and the member; -1 if there is none of that name.
func offsetOf(structure *types.Struct, sizes types.Sizes, name string) (int64, *types.Var) {
	var fields []*types.Var
	for at := range structure.NumFields() {
		fields = append(fields, structure.Field(at))
	}
	for at, place := range sizes.Offsetsof(fields) {
		if fields[at].Name() == name {
			return place, fields[at]
		}
	}
	return -1, nil
}
