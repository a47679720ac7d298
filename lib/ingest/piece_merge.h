#ifndef FAULTLINE_LIB_INGEST_PIECE_MERGE_H_
#define FAULTLINE_LIB_INGEST_PIECE_MERGE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "faultline/v1/config.pb.h"
#include "faultline/v1/record.pb.h"
#include "faultline/v1/trace.pb.h"

// How a run is put together from its pieces. Pure functions.
namespace faultline::ingest {

// A piece as it is staged.
v1::Piece ToPiece(v1::TracePiece piece);

// Id of the piece with this index in its run: ids are in the order of indexes.
std::string PieceId(uint32_t index);
// The index; nothing where the id is not of that form.
std::optional<uint32_t> PieceIndex(absl::string_view id);

// Whether it says more than when it was and how it ended: a span of a web
// request does not.
bool TellsOfAnAgent(const v1::Trace& part);

// The run of `pieces`: at least one, all of one run and one order; their order
// in the vector does not matter. `closing` is how the run came to its end; it
// is set in the result, and a run that was idle counts as an error where
// nobody says otherwise.
//
// PIECE_ORDER_ID: by id. Lists are appended, maps united, other fields
// overridden by later pieces. Offsets of steps count from the run's start.
//
// PIECE_ORDER_TIME: steps by the time at which they began. Where two pieces
// differ, the one nearer to the root holds, then the earlier one. The run
// begins with its first piece and ends with its last; its cost is the sum over
// its steps, where no piece knows better. Equal records of memory count once.
// Where there are several agents, a step without actor is that of the nearest
// piece above it that names one.
//
// In both, the indexes of steps in decisions and annotations, which count
// within a piece, become indexes of the run; a decision that names none belongs
// to the next step after it. An intervention counts once.
//
// The result keeps every limit of trace.proto and of `limits` (every field
// filled in): of too many steps, the first and the last ones are kept, of
// other lists the first ones; where the whole is too large, the longest texts
// are cut, then lists. Trace.left_out counts what was left out or cut.
v1::Trace MergePieces(std::vector<v1::Piece> pieces, v1::Closing closing,
                      const v1::TraceLimits& limits);

}  // namespace faultline::ingest

#endif  // FAULTLINE_LIB_INGEST_PIECE_MERGE_H_
