# One part knows fmt alone, the other evenkeel and fmt; both have to see the fmt of OWN_FMT_VERSION, e.g. 9.1.0.
string(REGEX REPLACE "([0-9]+)[.]([0-9]+)[.]([0-9]+)" "\\1 * 10000 + \\2 * 100 + \\3" version "${OWN_FMT_VERSION}")
math(EXPR version "${version}")
add_compile_definitions(OWN_FMT_VERSION=${version})

add_library(line STATIC ../line.cpp)
target_link_libraries(line PRIVATE fmt::fmt)
target_compile_features(line PRIVATE cxx_std_17)

add_executable(consumer ../main.cpp)
target_link_libraries(consumer PRIVATE line evenkeel::evenkeel fmt::fmt)
