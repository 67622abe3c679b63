package main

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"log"
	"path/filepath"
	"strings"
)

const (
	grpcModule    = "google.golang.org/grpc"
	grpcTransport = grpcModule + "/internal/transport"
)

// grpcMembers are ways through structures of grpc-go's transport to a member, by value: older releases have one kind of stream for both ends, and
// newer ones have in each end's what both have.
var grpcMembers = [][][]string{
	{{"http2Server", "conn"}},
	{{"ServerStream", "Stream", "id"}, {"ServerStream", "id"}, {"Stream", "id"}},
	{{"http2Client", "conn"}},
	{{"ClientStream", "ct"}, {"Stream", "ct"}},
	{{"ClientStream", "Stream", "id"}, {"ClientStream", "id"}, {"Stream", "id"}},
}

// grpcModules reads packages of grpc-go's module in a folder, and of the standard library. What others declare is left unknown: no member that is
// asked for lies behind something of theirs.
type grpcModules struct {
	folder   string
	standard types.Importer
	read     map[string]*types.Package
}

// Import is that of types.Importer.
func (modules *grpcModules) Import(path string) (*types.Package, error) {
	if known, ok := modules.read[path]; ok {
		return known, nil
	}
	within, isOwn := strings.CutPrefix(path, grpcModule)
	if !isOwn {
		if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
			return modules.standard.Import(path)
		}
		return types.NewPackage(path, filepath.Base(path)), nil
	}
	found, err := build.Default.ImportDir(filepath.Join(modules.folder, within), 0)
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range found.GoFiles {
		file, err := parser.ParseFile(files, filepath.Join(found.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, file)
	}
	checks := types.Config{Importer: modules, IgnoreFuncBodies: true, Error: func(error) {}}
	checked, _ := checks.Check(path, files, parsed, nil)
	modules.read[path] = checked
	return checked, nil
}

// behindPointer is 1 where each end's stream leads to what both have, in which the number is, by a pointer: its first member.
func behindPointer(transport *types.Package) int64 {
	if object := transport.Scope().Lookup("ServerStream"); object != nil {
		if structure, ok := object.Type().Underlying().(*types.Struct); ok && structure.NumFields() > 0 {
			if _, isPointer := structure.Field(0).Type().(*types.Pointer); isPointer {
				return 1
			}
		}
	}
	return 0
}

// grpcOffsets are those of a release, in the order of grpcMembers; -1 for one that is not there. Behind them, see behindPointer.
func grpcOffsets(folder string, standard types.Importer, sizes types.Sizes) []int64 {
	modules := &grpcModules{folder, standard, map[string]*types.Package{}}
	transport, err := modules.Import(grpcTransport)
	if err != nil {
		log.Fatal(err)
	}
	var offsets []int64
	for _, ways := range grpcMembers {
		at := int64(-1)
		for _, way := range ways {
			if at = offsetOnWay(transport, sizes, way); at >= 0 {
				break
			}
		}
		offsets = append(offsets, at)
	}
	return append(offsets, behindPointer(transport))
}

func offsetOnWay(of *types.Package, sizes types.Sizes, way []string) int64 {
	object := of.Scope().Lookup(way[0])
	if object == nil {
		return -1
	}
	kind, sum := object.Type(), int64(0)
	for _, name := range way[1:] {
		structure, ok := kind.Underlying().(*types.Struct)
		if !ok {
			return -1
		}
		at, field := offsetOf(structure, sizes, name)
		if at < 0 {
			return -1
		}
		kind, sum = field.Type(), sum+at
	}
	return sum
}
