// ruy::profiler::ScopeLabel: does nothing, as in ruy when RUY_PROFILER is not defined.
#ifndef RUY_RUY_PROFILER_INSTRUMENTATION_H_
#define RUY_RUY_PROFILER_INSTRUMENTATION_H_

namespace ruy {
namespace profiler {

class ScopeLabel final {
 public:
  template <typename... Arguments>
  explicit ScopeLabel(const char*, Arguments...) {}
  // Not trivial, or every label would be reported as an unused variable.
  ~ScopeLabel() {}
};

}  // namespace profiler
}  // namespace ruy

#endif  // RUY_RUY_PROFILER_INSTRUMENTATION_H_
