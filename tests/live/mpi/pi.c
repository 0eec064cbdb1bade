/* Pi by the midpoint rule, its terms dealt to the ranks: prints how many ranks there were, and pi. */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv) {
    const int n = 1000000;
    int rank, size;
    double sum = 0, pi;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = rank; i < n; i += size) {
        double x = (i + 0.5) / n;
        sum += 4 / (1 + x * x);
    }
    MPI_Reduce(&sum, &pi, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0) printf("%d ranks: %.9f\n", size, pi / n);
    MPI_Finalize();
    return 0;
}
